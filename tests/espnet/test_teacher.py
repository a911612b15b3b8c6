"""Text2Speech says what ESPnet's own inference says of the same experiment, freely and forced."""

import numpy as np
import pytest
import torch
import yaml

from imlspike.espnet import register
from imlspike.inference import Bundle, Text2Speech
from imlspike.inference.voice import TrainedVoice
from tests.inference.small_tts import HOP, RATE, write_voice

TEXT = "a cab came, no one said."
SYMBOLS = ["<space>" if letter == " " else letter for letter in TEXT]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A voice with what ESPnet wants besides: all its options, and files of statistics."""
    register()
    from espnet2.tasks.tts import TTSTask

    folder = write_voice(tmp_path_factory.mktemp("exp"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for name, size in (("feats", 8), ("pitch", 1), ("energy", 1)):
        np.savez(folder / f"{name}.npz", count=10, sum=np.zeros(size), sum_square=np.ones(size))
        key = "normalize" if name == "feats" else f"{name}_normalize"
        config |= {key: "global_mvn", f"{key}_conf": {"stats_file": f"{folder}/{name}.npz"}}
    config = vars(TTSTask.get_parser().parse_args([])) | config
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def theirs(experiment):
    """ESPnet's inference, in fp64, where rounding moves no spike."""
    from espnet2.bin.tts_inference import Text2Speech as ESPnetText2Speech

    files = experiment / "config.yaml", experiment / "valid.loss.ave.pth"
    return ESPnetText2Speech(*files, dtype="float64")


@pytest.fixture(scope="module")
def ours(experiment):
    voice = TrainedVoice.from_bundle(Bundle.load(experiment))
    voice.model.double()
    return Text2Speech(voice)


def numbers(ours):
    return ours.voice.numbers(SYMBOLS)


def test_free_synthesis_is_that_of_espnet(ours, theirs):
    wanted = theirs(numbers(ours))
    said = ours(TEXT)
    assert said.durations.tolist() == wanted["duration"].tolist()
    np.testing.assert_allclose(said.mel, wanted["feat_gen_denorm"].numpy(), atol=1e-4)
    assert said.mel.std() > 0.5
    slow = theirs(numbers(ours), decode_conf={**theirs.decode_conf, "alpha": 1.5})
    assert (
        ours(TEXT, speed=1 / 1.5).durations.tolist() == slow["duration"].tolist() != said.durations.tolist()
    )


def test_forced_synthesis_is_that_of_espnet(ours, theirs):
    """Durations of the aligner, which add up to the natural mel, and natural pitch and energy."""
    time = np.arange(4003) / RATE
    audio = (0.3 * np.sin(2 * np.pi * (150 + 40 * time) * time)).astype(np.float32)
    audio += np.random.default_rng(0).normal(scale=0.01, size=len(audio)).astype(np.float32)
    said = ours.force(SYMBOLS, audio)
    assert said.durations.sum() == len(said.mel) == len(audio) // HOP + 1
    assert len(said.durations) == len(TEXT) and said.durations.min() >= 1
    forced = {"speech": torch.from_numpy(audio), "decode_conf": {"use_teacher_forcing": True}}
    wanted = theirs(numbers(ours), **forced)
    assert said.durations.tolist() == wanted["duration"].tolist()
    np.testing.assert_allclose(said.mel, wanted["feat_gen_denorm"].numpy(), atol=1e-4)
    given = np.roll(said.durations, 1)  # of others than the aligner's
    assert given.tolist() != said.durations.tolist()
    wanted = theirs(numbers(ours), durations=torch.from_numpy(given), **forced)
    told = ours.force(SYMBOLS, audio, durations=given)
    assert told.durations.tolist() == given.tolist()
    np.testing.assert_allclose(told.mel, wanted["feat_gen_denorm"].numpy(), atol=1e-4)
    with pytest.raises(ValueError, match="u3: the durations add up to 24 frames; the recording has"):
        ours.force(SYMBOLS, audio, name="u3", durations=[1] * 24)
    higher = ours.force(SYMBOLS, np.interp(np.arange(0, 4003, 1.3), np.arange(4003), audio))
    assert len(higher.mel) < len(said.mel)


def test_what_cannot_be_forced_is_named(ours, tmp_path):
    audio = np.zeros(100, dtype=np.float32)
    with pytest.raises(ValueError, match="u1: .* 24 tokens and 7 frames"):
        ours.force(SYMBOLS, audio, name="u1")
    without = Text2Speech.from_pretrained(write_voice(tmp_path, aligner=False))
    with pytest.raises(ValueError, match="u2: this model has no aligner"):
        without.force(["a"], audio, name="u2")
    assert without.force(["a"], audio, durations=[7]).durations.tolist() == [7]
