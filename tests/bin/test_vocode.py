"""`imlspike vocode`: files and folders in, audio out, whatever some of them hold."""

import numpy as np
import pytest
import soundfile
import torch

from imlspike import Vocoder
from imlspike.bin import vocode
from tests.inference.small_vocoder import save, small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An experiment's folder: 8 kHz, 8 mels, hop 16."""
    folder = tmp_path_factory.mktemp("exp") / "small"
    save(small_model("imls"), folder)
    return folder


def noise(seconds, rate=8000, channels=1):
    """Samples (n, channels)."""
    return np.random.default_rng(0).uniform(-0.3, 0.3, (round(seconds * rate), channels))


@pytest.fixture
def folder(tmp_path):
    """Two folders with recordings of the same name, several kinds and rates, mels, and what is neither."""
    folder = tmp_path / "in"
    for name in ("x/deep", "y", ".hidden"):
        (folder / name).mkdir(parents=True)
    soundfile.write(folder / "x/a.wav", noise(0.2), 8000)
    soundfile.write(folder / "x/deep/b.flac", noise(0.5, 44100, 2), 44100)
    soundfile.write(folder / "y/a.wav", noise(0.3), 8000)
    soundfile.write(folder / "y/a.mp3", noise(0.4, 16000), 16000)
    soundfile.write(folder / ".hidden/c.wav", noise(0.1), 8000)
    mel = np.random.default_rng(0).normal(size=(8, 30)).astype(np.float32)
    np.save(folder / "y/mel.npy", mel)
    torch.save(torch.from_numpy(mel)[None], folder / "y/same.pt")
    (folder / "y/notes.txt").write_text("not audio")
    return folder


@pytest.fixture
def run(model):
    """The command line with these words, and how it ends."""
    return lambda *words: vocode.main([str(word) for word in (*words, "--model", model)])


def read(path):
    """Samples of a file at 8 kHz, mono, 16 bit."""
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype) == (8000, 1, "PCM_16")
    return soundfile.read(path)[0]


@pytest.mark.parametrize("name", ["out.wav", "out.flac"])
def test_one_file_to_a_file(folder, tmp_path, run, model, name):
    """It is what Vocoder makes of it, to 16 bits; a second run replaces it."""
    (tmp_path / name).write_text("old")
    assert run(folder / "x/a.wav", tmp_path / name, "--chunk-seconds", 0.05) == 0
    expected = Vocoder.from_pretrained(model).vocode(soundfile.read(folder / "x/a.wav")[0])
    expected = expected.clamp(-1, 1 - 2**-15).numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(read(tmp_path / name), expected, atol=2**-15)


def test_any_rate_and_channels_are_taken_and_told(folder, tmp_path, run, capsys):
    assert run(folder / "x/deep/b.flac", tmp_path / "new/b.wav") == 0
    assert len(read(tmp_path / "new/b.wav")) == 4000
    error = capsys.readouterr().err
    assert f"several channels, mixed down to one: {folder}/x/deep/b.flac" in error
    assert f"resampled to 8000 Hz: {folder}/x/deep/b.flac" in error


def test_a_mel_gives_what_decode_gives(folder, tmp_path, run, model):
    for name in ("mel.npy", "same.pt"):
        assert run(folder / "y" / name, tmp_path / "out.wav", "--chunk-seconds", 0.02) == 0
        expected = Vocoder.from_pretrained(model).decode(np.load(folder / "y/mel.npy"))
        expected = expected.clamp(-1, 1 - 2**-15).numpy()
        assert len(expected) == 29 * 16
        np.testing.assert_allclose(read(tmp_path / "out.wav"), expected, atol=2**-15)


def test_a_folder_is_mirrored_and_no_name_overwrites_another(folder, tmp_path, run, capsys):
    out = tmp_path / "out"
    assert run(folder, out, "--format", "flac") == 0
    written = {str(path.relative_to(out)): len(read(path)) for path in out.rglob("*.flac")}
    assert written == {
        "x/a.flac": 1600,
        "x/deep/b.flac": 4000,
        "y/a.wav.flac": 2400,
        "y/a.mp3.flac": 3200,
        "y/mel.flac": 464,
        "y/same.flac": 464,
    }
    assert "6 audio or mel files; 1 files of other kinds left out" in capsys.readouterr().err


def test_what_is_done_is_not_done_again_and_no_output_is_an_input(folder, tmp_path, run, capsys):
    """Until asked to; where OUT lies inside IN, too."""
    out = folder / "out"
    assert run(folder, out) == 0
    (out / "x/a.wav").write_text("old")
    soundfile.write(folder / "new.wav", noise(0.1), 8000)
    assert run(folder, out) == 0
    assert (out / "x/a.wav").read_text() == "old" and len(read(out / "new.wav")) == 800
    assert "6 of 7 files were done before" in capsys.readouterr().err
    assert run(folder, out, "--overwrite") == 0 and len(read(out / "x/a.wav")) == 1600
    assert not (out / "out").exists()


def test_a_broken_file_is_named_and_the_rest_is_done(folder, tmp_path, run, capsys):
    """Cut off, NaN, missing, a mel of another size or form: status 1 and a list."""
    out = tmp_path / "out"
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "cut.wav").write_bytes((folder / "x/a.wav").read_bytes()[:-1000])
    samples = noise(1.0)
    samples[-3] = np.nan
    soundfile.write(broken / "nan.wav", samples, 8000, subtype="FLOAT")
    for name, shape in {"mels": (80, 20), "turned": (20, 8), "one": (8, 1)}.items():
        np.save(broken / f"{name}.npy", np.zeros(shape, dtype=np.float32))
    np.save(broken / "objects.npy", np.array([{}]))
    torch.save({"weights": torch.zeros(3)}, broken / "dict.pt")
    for name in ("mel.npy", "same.pt"):
        (broken / f"cut_{name}").write_bytes((folder / "y" / name).read_bytes()[:-100])
    assert run(broken, folder / "missing.wav", folder / "x/a.wav", out, "--chunk-seconds", 0.1) == 1
    assert {path.name for path in out.rglob("*")} == {"a.wav", "manifest.jsonl"}
    error = capsys.readouterr().err
    for name, message in {
        "cut.wav": "truncated",
        "nan.wav": "NaN or infinity at sample 7997",
        "mels.npy": r"takes (8, frames) of 8000 Hz",
        "turned.npy": "transpose it",
        "one.npy": "no audio",
        "objects.npy": "not readable as an array",
        "dict.pt": "holds a dict",
        "cut_mel.npy": "not readable as an array",
        "cut_same.pt": "not readable as an array",
    }.items():
        line = next(line for line in error.splitlines() if f"{broken}/{name}: " in line)
        assert line.startswith("vocode: ") and message in line
    assert f"vocode: {folder}/missing.wav: no such file" in error
    assert error.splitlines()[-1].startswith("vocode: 10 of 11 files were not vocoded: ")


def test_too_loud_is_told(folder, tmp_path, model, run, monkeypatch, capsys):
    opened = Vocoder.from_pretrained(model)
    opened.model.head.register_forward_hook(lambda _, inputs, outputs: (outputs[0] * 1e3, *outputs[1:]))
    monkeypatch.setattr(Vocoder, "from_pretrained", lambda *_, **options: opened)
    assert run(folder / "x/a.wav", tmp_path / "out.wav") == 0
    assert f"louder than full scale in places, clipped there: {tmp_path}/out.wav" in capsys.readouterr().err


def test_wrong_places_are_one_line(folder, tmp_path, run, capsys):
    for words, message in {
        (folder, tmp_path / "out.wav"): "out.wav: one file for several inputs; name a folder",
        (folder / "x/a.wav", tmp_path / "out.mp3"): "out.mp3: .mp3 can't be written; name it .wav or .flac",
        (folder / "x/a.wav", tmp_path / "o.wav", "--format", "flac"): "--format flac is of a folder",
        (folder / "x/a.wav", folder / "x/a.wav"): "a.wav: would replace an input; name another OUT",
        (folder / "x", folder / "x"): "would replace an input",
    }.items():
        assert run(*words) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("vocode: error: ") and message in line
    assert vocode.main([str(folder / "x/a.wav"), str(tmp_path / "o.wav"), "--model", "exp/none"]) == 1
    assert "exp/none: no such file or folder; expected a bundle" in capsys.readouterr().err
    (tmp_path / "none").mkdir()
    assert run(tmp_path / "none", tmp_path / "out") == 1
    assert "no audio or mel in this folder" in capsys.readouterr().err


def test_interrupted_it_leaves_whole_files(folder, tmp_path, run, monkeypatch, capsys):
    """The second file is under way when the key is pressed."""
    stream, calls = Vocoder.stream, []

    def interrupted(self, blocks, gain):
        calls.append(1)
        for block in stream(self, blocks, gain=gain):
            yield block
            if len(calls) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(Vocoder, "stream", interrupted)
    assert run(folder / "x", tmp_path / "out", "--chunk-seconds", 0.05) == 130
    assert [str(path.relative_to(tmp_path)) for path in (tmp_path / "out").rglob("*.wav")] == ["out/a.wav"]
    assert not list((tmp_path / "out").rglob(".*")) and "interrupted" in capsys.readouterr().err
