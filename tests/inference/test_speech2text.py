"""Speech2Text on waveforms and files of any kind."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike import Speech2Text  # noqa: E402
from imlspike.data.audio import AudioError  # noqa: E402
from imlspike.data.yaml_file import ConfigError  # noqa: E402
from imlspike.inference import Bundle  # noqa: E402
from imlspike.inference.decoding import open_decoder  # noqa: E402
from imlspike.inference.experiment import language_model  # noqa: E402
from tests.inference.conftest import MODEL  # noqa: E402


@pytest.fixture(scope="module")
def s2t(experiment) -> Speech2Text:
    """The recognizer, greedy."""
    return Speech2Text.from_pretrained(experiment)


def write_recording(path: Path, parts: list[np.ndarray], pause: float = 0.8, rate: int = 16000) -> np.ndarray:
    """Write parts with silence between them."""
    silence = np.zeros(round(pause * rate), dtype=np.float32)
    recording = np.concatenate([piece for part in parts for piece in (part, silence)])
    soundfile.write(path, recording, rate, subtype="FLOAT")
    return recording


# Waveforms


def test_alone_in_a_list_and_in_small_batches_it_says_what_the_decoder_says(s2t, waves, expected):
    assert [s2t(wave) for wave in waves] == expected
    assert s2t(waves) == expected
    assert s2t(tuple(torch.from_numpy(wave) for wave in waves), batch_seconds=1) == expected
    assert s2t([]) == []


def test_joint_decoding_says_what_its_decoder_says(experiment, waves):
    s2t = Speech2Text.from_pretrained(experiment, decoding="joint", beam_size=2, ctc_weight=0.4)
    decoder = open_decoder(Bundle.load(experiment), "joint", beam_size=2, ctc_weight=0.4)
    assert s2t(waves[:2]) == decoder([torch.from_numpy(wave) for wave in waves[:2]])


def test_weights_of_few_bits_are_those_of_the_folded_model_and_of_its_decoder(experiment):
    joint = Speech2Text.from_pretrained(experiment, "joint", beam_size=2, weight_bits=4).decoder.recognizer
    assert not joint.exact and joint.decoder is not None
    for module in (joint.ctc, *joint.encoder.modules(), *joint.decoder.modules()):
        if isinstance(module, torch.nn.Linear):
            assert all(len(row.unique()) <= 15 for row in module.weight)


def test_whole_numbers_and_other_rates_are_taken(s2t, waves, expected):
    assert s2t((waves[0] * 32768).round().astype(np.int16)) == s2t((waves[0] * 32768).round() / 32768)
    twice = np.interp(np.arange(2 * len(waves[0])) / 2, np.arange(len(waves[0])), waves[0])
    assert isinstance(s2t(twice, sampling_rate=32000), str)


def test_what_is_too_short_is_empty(s2t, waves, expected):
    assert s2t([np.zeros(3), waves[0], np.zeros(0), np.zeros(300)]) == ["", expected[0], "", ""]


def test_noise_before_and_behind_speech_is_not_decoded():
    """Brought to the level of speech, it would be taken for some."""
    heard, random = [], np.random.default_rng(0)

    def decoder(waves: list[torch.Tensor]) -> list[str]:
        heard.extend(abs(wave).max().item() for wave in waves)
        return ["a"] * len(waves)

    decoder.sampling_rate = 16000
    noise = 1e-3 * random.normal(size=16000 * 40)
    talk = 0.3 * random.normal(size=16000 * 20)
    assert Speech2Text(decoder)(np.concatenate([noise, talk, noise])).replace(" ", "").strip("a") == ""
    assert heard and min(heard) > 0.1


@pytest.mark.parametrize("batch_seconds", [1, 120])
def test_noise_long_before_speech_is_not_heard_whatever_is_decoded_at_once(batch_seconds, tmp_path):
    """As of a recorder that was switched on early: the speech comes in a later window."""
    random = np.random.default_rng(0)
    decoder = lambda waves: ["a"] * len(waves)  # noqa: E731
    decoder.sampling_rate = 16000
    noise, talk = 1e-3 * random.normal(size=16000 * 20), 0.1 * random.normal(size=16000 * 3)
    wave = np.concatenate([noise, talk]).astype(np.float32)
    heard = Speech2Text(decoder)
    assert heard(wave, max_seconds=4, batch_seconds=batch_seconds) in ("a", "a a")  # by where it is cut
    soundfile.write(tmp_path / "a.wav", wave, 16000)
    (found,) = heard.transcribe(tmp_path / "a.wav", max_seconds=4, batch_seconds=batch_seconds)
    assert {one.text for one in found.segments if one.end < 19} == {""}
    assert found.segments[-1].text == "a" and len(found.segments) >= 6


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros((2, 800)), r"the waveform has shape \(2, 800\).*mean of its channels"),
        (np.array([0, np.nan]), "the waveform: NaN or infinity at sample 1"),
        ([np.zeros(800), np.zeros(800, dtype=np.uint8)], "waveform 1 is of type uint8"),
        ("a.wav", "expected"),
    ],
)
def test_what_is_no_waveform_is_refused(s2t, waveform, message):
    with pytest.raises(ValueError, match=message):
        s2t(waveform)


def test_a_senseless_rate_is_refused(s2t, waves):
    with pytest.raises(ValueError, match="sampling_rate is 0"):
        s2t(waves[0], sampling_rate=0)


# Files


def test_files_give_what_their_waveforms_give(s2t, waves, expected, tmp_path):
    """Of any length, in any batches, in the order given; with their durations."""
    files = [tmp_path / f"{i}.wav" for i in range(len(waves))]
    for file, wave in zip(files, waves, strict=True):
        soundfile.write(file, wave, 16000, subtype="FLOAT")
    for batch_seconds in (0.5, 3, 120):
        results = list(s2t.transcribe(files, batch_seconds=batch_seconds))
        assert [result.text for result in results] == expected
        assert [result.file for result in results] == [str(file) for file in files]
        assert [result.seconds for result in results] == [len(wave) / 16000 for wave in waves]
    assert next(s2t.transcribe(str(files[1]))).text == expected[1]


def test_two_channels_at_another_rate(s2t, waves, tmp_path):
    """The mean of the channels, resampled: as the waveform is that was treated so before."""
    left = np.interp(np.arange(44100 * 2) / 44100, np.arange(len(waves[0])) / 16000, waves[0])
    right = np.random.default_rng(0).normal(scale=0.05, size=len(left))
    both = np.stack([left, right], axis=1).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", both, 44100, subtype="FLOAT")
    (result,) = s2t.transcribe(tmp_path / "a.wav")
    assert (result.sampling_rate, result.channels) == (44100, 2)
    assert result.text == s2t(both.mean(axis=1), sampling_rate=44100)
    assert result.seconds == pytest.approx(len(left) / 44100, abs=1e-3)


def test_a_long_recording_is_cut_and_its_segments_are_what_their_parts_give(s2t, waves, tmp_path):
    recording = write_recording(tmp_path / "long.wav", waves * 3)
    (result,) = s2t.transcribe(tmp_path / "long.wav", max_seconds=5)
    assert len(result.segments) > 3 and result.segments[0].start == 0
    for segment in result.segments:
        part = recording[round(segment.start * 16000) : round(segment.end * 16000)]
        assert segment.text == s2t(part) and len(part) <= 5 * 16000
    assert [s.end for s in result.segments[:-1]] == [s.start for s in result.segments[1:]]
    assert result.segments[-1].end == result.seconds == len(recording) / 16000
    assert result.text == s2t(recording, max_seconds=5)
    (whole,) = s2t.transcribe(tmp_path / "long.wav", max_seconds=None)
    assert len(whole.segments) == 1 and whole.text == s2t.decoder([torch.from_numpy(recording)])[0]


def test_a_broken_file_is_named_and_the_rest_is_done(s2t, waves, expected, tmp_path):
    """Wherever it breaks, and whatever of it was decoded before; nothing of it is left."""
    write_recording(tmp_path / "1.wav", waves[:1], pause=0)
    broken = write_recording(tmp_path / "2.wav", waves * 5)
    broken[-20] = np.nan
    soundfile.write(tmp_path / "2.wav", broken, 16000, subtype="FLOAT")
    (tmp_path / "3.mp3").write_bytes(b"nothing that sounds")
    write_recording(tmp_path / "4.wav", waves[1:2], pause=0)
    files = [tmp_path / name for name in ("1.wav", "2.wav", "3.mp3", "missing.wav", "4.wav")]
    results = list(s2t.transcribe(files, max_seconds=5, batch_seconds=2, on_error="return"))
    assert [result.text for result in results] == [expected[0], "", "", "", expected[1]]
    errors = [result.error for result in results]
    assert errors[0] is None and errors[4] is None
    assert "2.wav: NaN or infinity" in errors[1] and "3.mp3" in errors[2] and "no such file" in errors[3]
    assert all(result.segments == () for result in results[1:4])
    with pytest.raises(AudioError, match="2.wav"):
        list(s2t.transcribe(files, max_seconds=5, batch_seconds=2))


def test_output_that_is_not_finite_costs_only_its_file(waves, tmp_path):
    """The others of its batch are decoded without it."""

    def decoder(waveforms):
        if any(wave.max() > 0.9 for wave in waveforms):
            raise FloatingPointError("the encoder's output isn't finite")
        return ["fine"] * len(waveforms)

    decoder.sampling_rate = 16000
    loud = waves[2] * 3
    for name, wave in {"a": waves[0], "b": loud, "c": waves[1]}.items():
        soundfile.write(tmp_path / f"{name}.wav", wave, 16000, subtype="FLOAT")
    files = [tmp_path / f"{name}.wav" for name in "abc"]
    results = list(Speech2Text(decoder).transcribe(files, on_error="return"))
    assert [result.text for result in results] == ["fine", "", "fine"]
    assert "b.wav, at 0.0 s: the encoder's output isn't finite" in results[1].error
    with pytest.raises(FloatingPointError, match="b.wav"):
        list(Speech2Text(decoder).transcribe(files))
    with pytest.raises(FloatingPointError):
        Speech2Text(decoder)([waves[0], loud])


def test_an_endless_list_of_files_is_worked_off_as_it_comes(waves, tmp_path):
    """No more audio is held than a few batches: the files are asked for when their turn has come."""

    def decoder(waveforms):
        assert sum(map(len, waveforms)) <= 16000 * 20
        return [""] * len(waveforms)

    decoder.sampling_rate = 16000
    asked = []

    def files():
        for number in range(10000):
            asked.append(number)
            yield tmp_path / "a.wav"

    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    heard = []
    results = Speech2Text(decoder).transcribe(files(), batch_seconds=20, progress=heard.append)
    for number, _ in zip(range(200), results, strict=False):
        assert len(asked) <= number + 4 * 20 + 1
    assert heard[:3] == pytest.approx([1, 2, 3])


# The language model


def test_the_language_model_of_a_recipe(recipe, waves, tmp_path):
    """The only one beside the experiment, once a weight is given; or the one that is named."""
    options = {"decoding": "beam", "beam_size": 3}
    alone = Speech2Text.from_pretrained(recipe, **options)(waves)
    beside = Speech2Text.from_pretrained(recipe, **options, lm_weight=2.0)(waves)
    named = Speech2Text.from_pretrained(recipe, **options, lm_weight=2.0, lm=recipe / "exp/lm")(waves)
    assert beside == named != alone
    shutil.copytree(recipe, tmp_path / "r")
    shutil.copytree(tmp_path / "r/exp/lm", tmp_path / "r/exp/lm_other")
    with pytest.raises(ConfigError, match="exp/lm, .*exp/lm_other"):
        Speech2Text.from_pretrained(tmp_path / "r", **options, lm_weight=0.3)
    for name in ("lm", "lm_other"):
        shutil.rmtree(tmp_path / "r/exp" / name)
    with pytest.raises(ConfigError, match="exp/tiny"):
        Speech2Text.from_pretrained(tmp_path / "r", **options, lm_weight=0.3)
    with pytest.raises(ConfigError, match="exp/begun"):
        Speech2Text.from_pretrained(recipe, **options, lm_weight=0.3, lm=recipe / "exp/begun")
    with pytest.raises(ConfigError, match="'lm'"):
        Speech2Text.from_pretrained(recipe, lm=recipe / "exp/lm")


def test_who_asks_for_joint_decoding_gets_the_decoder_though_a_beam_suits_the_bundle(experiment, tmp_path):
    bundle = Bundle.load(experiment)
    bundle.config["search"] = {"ctc_weight": 1.0, "beam_size": 3}
    assert open_decoder(bundle, "beam").search.attention is None
    assert open_decoder(bundle, "joint").search.attention is not None
    assert open_decoder(bundle, "joint", ctc_weight=1.0).search.attention is None
    del bundle.config["model"]["decoder"]  # as of one that was trained by CTC alone
    with pytest.raises(ConfigError, match="no attention decoder.*beam"):
        open_decoder(bundle, "joint")


def test_a_language_models_file_that_none_would_be_read_from_is_named(recipe, tmp_path):
    """By greedy decoding, without a weight, or where the model is the one in the bundle."""
    packed = Bundle.load(recipe)
    about, packed.lm_states, _ = language_model(recipe / "exp/lm")
    packed.config["lm"] = about
    packed.save(tmp_path / "asr.zip")
    for place, options in (
        (recipe, {}),
        (recipe, {"decoding": "beam"}),
        (tmp_path / "asr.zip", {"decoding": "beam", "lm_weight": 0.3}),
    ):
        with pytest.raises(ConfigError, match="lm_file"):
            Speech2Text.from_pretrained(place, lm_file=MODEL, **options)
    Speech2Text.from_pretrained(recipe, decoding="beam", lm_weight=0.3, lm_file=MODEL)


# What can't be asked for


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoding": "beams"}, "did you mean 'beam'"),
        ({"decoding": "beam", "ctc_weight": 0.5}, "ctc_weight"),
        ({"beam_size": 5}, "greedy decoding: unknown key 'beam_size'"),
        ({"decoding": "joint", "beamsize": 5}, "did you mean 'beam_size'?"),
    ],
)
def test_a_wrong_option_is_named(experiment, options, message):
    with pytest.raises(ValueError, match=message):
        Speech2Text.from_pretrained(experiment, **options)
