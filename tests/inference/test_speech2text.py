"""Speech2Text: what was trained, opened from wherever it lies, on waveforms and files of any kind."""

import shutil
import sys
import zipfile
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
import yaml

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike import Speech2Text  # noqa: E402
from imlspike.data.audio import AudioError  # noqa: E402
from imlspike.espnet import register  # noqa: E402
from imlspike.espnet.decode import GreedyDecoder, JointDecoder  # noqa: E402
from imlspike.espnet.experiment import find_experiment  # noqa: E402
from tests.espnet.tiny import CONFIG, TOKENS, tone  # noqa: E402

MODEL = "valid.loss.ave.pth"
SAID = ["ab ba", "aab", "b a", "abb ba b", "ba"]


def write_experiment(folder: Path, stats_file: Path) -> None:
    """An experiment as the recipes leave it, but untrained; large random weights in CTC make it talk."""
    register()
    from espnet2.tasks.asr import ASRTask

    np.savez(stats_file, count=10, sum=np.full(20, -30.0), sum_square=np.full(20, 300.0))
    config = vars(ASRTask.get_parser().parse_args([])) | yaml.safe_load(CONFIG)
    config |= {
        "normalize": "global_mvn",
        "normalize_conf": {"stats_file": str(stats_file)},
        "token_list": TOKENS,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(1)
    states = ASRTask.build_model(Namespace(**config)).state_dict()
    states["ctc.ctc_lo.weight"].normal_(std=10)
    torch.save(states, folder / MODEL)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A recipe's folder with one experiment, beside a language model and an experiment only begun."""
    folder = tmp_path_factory.mktemp("recipe")
    for name in ("tiny", "lm", "begun"):
        (folder / "exp" / name).mkdir(parents=True)
    write_experiment(folder / "exp/tiny", folder / "exp/tiny/feats_stats.npz")
    (folder / "exp/lm/config.yaml").write_text(
        "lm: transformer\nbest_model_criterion: [[valid, loss, min]]\n"
    )
    (folder / "exp/lm" / MODEL).touch()
    shutil.copy(folder / "exp/tiny/config.yaml", folder / "exp/begun")
    return folder


@pytest.fixture(scope="module")
def experiment(recipe) -> Path:
    """The experiment's folder."""
    return recipe / "exp" / "tiny"


@pytest.fixture(scope="module")
def s2t(experiment) -> Speech2Text:
    """The recogniser, greedy."""
    return Speech2Text.from_pretrained(experiment)


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    """A few utterances of different lengths."""
    return [tone(text).astype(np.float32) for text in SAID]


@pytest.fixture(scope="module")
def expected(experiment, waves) -> list[str]:
    """What the decoder says to each utterance alone."""
    decoder = GreedyDecoder(experiment / "config.yaml", experiment / MODEL)
    texts = [decoder([torch.from_numpy(wave)])[0] for wave in waves]
    assert len(set(texts)) > 1
    return texts


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
    decoder = JointDecoder(experiment / "config.yaml", experiment / MODEL, beam_size=2, ctc_weight=0.4)
    assert s2t(waves[:2]) == decoder([torch.from_numpy(wave) for wave in waves[:2]])


def test_whole_numbers_and_other_rates_are_taken(s2t, waves, expected):
    assert s2t((waves[0] * 32768).round().astype(np.int16)) == s2t((waves[0] * 32768).round() / 32768)
    twice = np.interp(np.arange(2 * len(waves[0])) / 2, np.arange(len(waves[0])), waves[0])
    assert isinstance(s2t(twice, sampling_rate=32000), str)


def test_what_is_too_short_is_empty(s2t, waves, expected):
    assert s2t([np.zeros(3), waves[0], np.zeros(0), np.zeros(300)]) == ["", expected[0], "", ""]


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


# Where it lies


def move(experiment: Path, to: Path) -> Path:
    """The experiment elsewhere, while what its config.yaml names is gone."""
    shutil.copytree(experiment, to)
    config = yaml.safe_load((to / "config.yaml").read_text())
    config["normalize_conf"]["stats_file"] = "/gone/feats_stats.npz"
    (to / "config.yaml").write_text(yaml.safe_dump(config))
    return to


def test_a_moved_experiment(experiment, waves, expected, tmp_path):
    assert Speech2Text.from_pretrained(move(experiment, tmp_path / "moved"))(waves) == expected


def test_the_folder_of_a_recipe(recipe, experiment):
    """Neither its language model nor an experiment that was only begun is taken for the recogniser."""
    for path in (recipe, recipe / "exp", experiment):
        assert find_experiment(path).config == experiment / "config.yaml"
        assert find_experiment(path).model == experiment / MODEL


@pytest.mark.parametrize("cached", [True, False])
def test_a_zip_of_espnet(experiment, waves, expected, tmp_path, monkeypatch, cached, capsys):
    """Packed, taken elsewhere, unpacked once; another content under the same name is unpacked anew."""
    from espnet2.main_funcs.pack_funcs import pack

    moved = move(experiment, tmp_path / "exp")
    monkeypatch.chdir(moved)
    files, archive = {"asr_model_file": MODEL}, tmp_path / "model.zip"
    yaml_files, option = {"asr_train_config": "config.yaml"}, ["feats_stats.npz"]
    pack(files=files, yaml_files=yaml_files, option=option, outpath=archive)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(moved)
    cache = tmp_path / "cache" if cached else None
    assert Speech2Text.from_pretrained(archive, cache_dir=cache)(waves) == expected
    if cached:
        (folder,) = cache.iterdir()
        before = (folder / MODEL).stat()
        assert find_experiment(archive, cache_dir=cache).model == folder / MODEL
        assert (folder / MODEL).stat() == before
        with zipfile.ZipFile(archive, "a") as more:
            more.writestr("README.md", "a model card")
        assert find_experiment(archive, cache_dir=cache).model.parent != folder


def test_a_zipped_folder(experiment, tmp_path):
    shutil.make_archive(tmp_path / "a", "zip", experiment.parent, "tiny")
    found = find_experiment(tmp_path / "a.zip", cache_dir=tmp_path / "cache")
    assert found.model.name == MODEL and found.config.parent.name == "tiny"


def test_a_pack_with_a_language_model(experiment, tmp_path, monkeypatch):
    """Its files are found; they are used once a weight is given."""
    for name in ("config.yaml", MODEL):
        shutil.copy(experiment / name, tmp_path)
    meta = {"files": {"asr_model_file": MODEL, "lm_file": "lm/lm.pth"}}
    meta["yaml_files"] = {"asr_train_config": "config.yaml", "lm_train_config": "lm/config.yaml"}
    (tmp_path / "meta.yaml").write_text(yaml.safe_dump(meta))
    with pytest.raises(ValueError, match="names .*lm/config.yaml, which isn't there"):
        find_experiment(tmp_path)
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm/lm.pth").touch()
    (tmp_path / "lm/config.yaml").touch()

    class Asked(JointDecoder):
        def __init__(self, config, model, device="cpu", lm_config=None, lm_file=None, lm_weight=0.0):
            self.lm, self.sampling_rate = (lm_config, lm_file, lm_weight), 16000

    monkeypatch.setattr("imlspike.espnet.decode.JointDecoder", Asked)
    files = (tmp_path / "lm/config.yaml", tmp_path / "lm/lm.pth")
    assert Speech2Text.from_pretrained(tmp_path, "joint").decoder.lm == (None, None, 0.0)
    assert Speech2Text.from_pretrained(tmp_path, "joint", lm_weight=0.3).decoder.lm == (*files, 0.3)


def test_a_name_on_the_hub(experiment, waves, expected, tmp_path, monkeypatch):
    """It is fetched by huggingface_hub, here a stub; where that is absent or fails, the message says so."""
    asked = []

    def snapshot_download(name, cache_dir=None):
        asked.append((name, cache_dir))
        if name != "someone/tiny":
            raise OSError("404")
        return str(experiment)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    assert Speech2Text.from_pretrained("someone/tiny", cache_dir="kept")(waves[:1]) == expected[:1]
    assert asked == [("someone/tiny", "kept")]
    with pytest.raises(ValueError, match=r"someone/other: no such .*hub \(404\); expected an experiment"):
        Speech2Text.from_pretrained("someone/other")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="someone/tiny: no such file or folder.*pip install huggingface_hub"):
        Speech2Text.from_pretrained("someone/tiny")


def test_a_wrong_path_never_asks_the_hub(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace())
    for path in ("exp/tniy", "nowhere", "/a/b", "../a"):
        with pytest.raises(
            ValueError, match=f"^{path}: no such file or folder; expected an experiment .*OWNER"
        ):
            Speech2Text.from_pretrained(path)


def test_what_is_no_recogniser_is_named(recipe, experiment, tmp_path):
    with pytest.raises(ValueError, match=r"no trained recogniser here \(there is nothing\); expected"):
        find_experiment(tmp_path)
    with pytest.raises(ValueError, match=f"{recipe}/exp/begun/{MODEL}: no such model; there is no .pth file"):
        find_experiment(recipe / "exp/begun")
    with pytest.raises(ValueError, match=f"best.pth: no such model; there is {MODEL}"):
        find_experiment(experiment, model_file="best.pth")
    (tmp_path / "a.zip").write_text("no zip")
    with pytest.raises(ValueError, match="a.zip: not a zip file; expected"):
        find_experiment(tmp_path / "a.zip")
    shutil.copytree(experiment, tmp_path / "exp/one")
    shutil.copytree(experiment, tmp_path / "exp/two")
    with pytest.raises(ValueError, match="several recognisers, name one of them: .*exp/one, .*exp/two"):
        find_experiment(tmp_path)


def test_a_damaged_zip_leaves_nothing(experiment, tmp_path):
    shutil.make_archive(tmp_path / "a", "zip", experiment)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[1000:1100] = bytes(100)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match="a.zip: damaged"):
        find_experiment(tmp_path / "a.zip", cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoding": "beam"}, "'beam'; expected 'greedy' or 'joint'"),
        ({"beam_size": 5}, "greedy decoding: unknown key 'beam_size'"),
        ({"decoding": "joint", "beamsize": 5}, "did you mean 'beam_size'?"),
    ],
)
def test_a_wrong_option_is_named(experiment, options, message):
    with pytest.raises(ValueError, match=message):
        Speech2Text.from_pretrained(experiment, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there(experiment):
    with pytest.raises(ValueError, match="no GPU here"):
        Speech2Text.from_pretrained(experiment, device="cuda")
