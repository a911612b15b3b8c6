import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from imlspike.bin.speed import main
from imlspike.data import parallel
from imlspike.data.audio import read_audio
from imlspike.data.format import change_speed, perturb_speed
from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded, write_data_dir
from tests.data.conftest import tone


@pytest.fixture
def data_dir(tmp_path):
    utterances = []
    for name, speaker in [("a", "s1"), ("b", "s2")]:
        soundfile.write(tmp_path / f"{name}.wav", tone(1.0, pitch=400), 16000)
        utterances.append(Utterance(name, str(tmp_path / f"{name}.wav"), "дом", speaker, 1.0))
    write_data_dir(tmp_path / "train", utterances, {"c": "audio without transcript"})
    return tmp_path / "train"


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.25])
def test_pitch_and_tempo_change_together(factor):
    """A tone of 400 Hz played at f is a tone of 400 f Hz of 1/f the length."""
    faster = change_speed(tone(2.0, pitch=400), factor)
    assert len(faster) == int(np.ceil(32000 / factor))
    middle = slice(500, -500)
    np.testing.assert_allclose(
        faster[middle], tone(len(faster) / 16000, pitch=400 * factor)[: len(faster)][middle], atol=0.01
    )


@given(st.integers(1, 3000), st.sampled_from([0.8, 0.9, 0.95, 1.1, 1.15]))
def test_lengths_are_what_sox_gives(samples, factor):
    assert abs(len(change_speed(np.zeros(samples, dtype=np.float32), factor)) - samples / factor) < 1


def test_a_directory_at_three_speeds(data_dir, tmp_path):
    perturb_speed(data_dir, tmp_path / "sp")
    utterances = {u.id: u for u in read_data_dir(tmp_path / "sp")}
    assert list(utterances) == ["a", "b", "sp0.9-a", "sp0.9-b", "sp1.1-a", "sp1.1-b"]
    assert utterances["a"] == read_data_dir(data_dir)[0]
    assert utterances["sp0.9-b"].speaker == "sp0.9-s2" and utterances["sp0.9-b"].text == "дом"
    for utterance in utterances.values():
        assert len(read_audio(utterance.wav)) == round(utterance.seconds * 16000)
    assert utterances["sp0.9-a"].seconds == pytest.approx(1 / 0.9, abs=1e-4)
    assert read_excluded(tmp_path / "sp") == {"c": "audio without transcript"}


def test_loud_recordings_are_clipped_not_wrapped(data_dir, tmp_path):
    square = np.sign(tone(0.5)) * 0.999
    soundfile.write(data_dir.parent / "a.wav", square, 16000)
    perturb_speed(data_dir, tmp_path / "sp", [0.9])
    samples = read_audio(tmp_path / "sp" / "wav" / "sp0.9-s1" / "sp0.9-a.wav")
    expected = np.clip(change_speed(read_audio(data_dir.parent / "a.wav"), 0.9), -1, 1)
    np.testing.assert_allclose(samples, expected, atol=1e-4)
    assert np.abs(expected).max() == 1


@pytest.mark.parametrize("factors", [[], [0.9, 0.9], [0.0], [-1.0, 1.0]])
def test_impossible_factors_are_refused(data_dir, tmp_path, factors):
    with pytest.raises(ValueError, match="speed factors"):
        perturb_speed(data_dir, tmp_path / "sp", factors)


def test_the_command_line_and_its_errors(data_dir, tmp_path, capsys):
    argv = [str(data_dir), "--output-dir", str(tmp_path / "sp"), "--factors", "1.1", "1"]
    assert main(argv) == 0
    assert "4 utterances" in capsys.readouterr().out
    assert main([str(data_dir), "--output-dir", str(data_dir)]) == 1
    assert "directory of its own" in capsys.readouterr().err
    soundfile.write(data_dir.parent / "a.wav", tone(1.0, 8000), 8000)
    assert main(argv) == 1
    assert "sp1.1-a (" in (error := capsys.readouterr().err) and "8000 Hz" in error


def test_a_broken_recording_is_left_out_at_every_other_speed_up_to_the_limit(data_dir, tmp_path):
    (data_dir.parent / "a.wav").write_bytes(b"")
    with pytest.raises(ValueError, match="sp0.9-a"):
        perturb_speed(data_dir, tmp_path / "sp")
    kept = perturb_speed(data_dir, tmp_path / "sp", max_left_out=0.5)
    assert [u.id for u in kept] == ["a", "b", "sp0.9-b", "sp1.1-b"], "the original is for `format` to judge"
    assert list(read_excluded(tmp_path / "sp")) == ["c", "sp0.9-a", "sp1.1-a"]


def test_what_is_done_is_kept_and_several_processes_write_the_same(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "PER_PROCESS", 1)
    first = perturb_speed(data_dir, tmp_path / "sp", audio_format="flac")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "sp").rglob("*.flac")}
    gone, *_ = files
    content = gone.read_bytes()
    gone.unlink()
    assert perturb_speed(data_dir, tmp_path / "sp", audio_format="flac", nj=2) == first
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "sp").rglob("*.flac")}
    assert len(files) == 4 and {path for path in files if again[path] != files[path]} == {gone}
    assert gone.read_bytes() == content
