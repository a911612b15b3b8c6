"""Audio of one kind, and at other speeds: samples stay, nothing broken gets through or is done twice."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from imlspike.bin import speed
from imlspike.bin.format import main
from imlspike.data import format as format_module
from imlspike.data import parallel
from imlspike.data.audio import read_audio
from imlspike.data.files import read_kaldi
from imlspike.data.format import change_speed, format_data_dir, perturb_speed
from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded, write_data_dir
from imlspike.data.parallel import map_parallel
from tests.data.conftest import tone

RATE = 16000


def write(folder: Path, files: dict[str, tuple[np.ndarray, int]], suffix="wav", subtype="PCM_16") -> Path:
    """A data directory with a file for each name: its samples and its rate."""
    folder.mkdir(exist_ok=True)
    utterances = []
    for name, (samples, rate) in files.items():
        path = folder / f"{name}.{suffix}"
        soundfile.write(path, samples, rate, subtype=subtype)
        utterances.append(Utterance(name, str(path), "дом", "s1", len(samples) / rate))
    write_data_dir(folder / "data", utterances, {"z": "audio without transcript"})
    return folder / "data"


@pytest.fixture
def data_dir(tmp_path):
    return write(tmp_path / "in", {name: (tone(0.5), RATE) for name in "abcd"})


def integers(path) -> np.ndarray:
    return soundfile.read(path, dtype="int16")[0]


@pytest.mark.parametrize("audio_format", ["flac", "wav"])
def test_every_16_bit_sample_stays_exactly_what_it_was(tmp_path, audio_format):
    folder, samples = tmp_path, np.arange(-32768, 32768, dtype=np.int16)
    data = write(folder / "in", {"a": (samples, RATE)})
    [utterance], _ = format_data_dir(data, folder / "out", audio_format, keep_fitting=False)
    assert utterance.wav == str(folder / "out" / "audio" / "s1" / f"a.{audio_format}")
    info = soundfile.info(utterance.wav)
    assert (info.format, info.subtype, info.samplerate) == (audio_format.upper(), "PCM_16", RATE)
    np.testing.assert_array_equal(integers(utterance.wav), samples)
    assert round(utterance.seconds * RATE) == len(samples)


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_24"])
def test_finer_samples_are_rounded_to_the_nearest_and_clipped(tmp_path, subtype):
    exact = np.array([0.1234567, -0.9999999, 0.99999, 1.0, -1.0, 3.0517578e-05 * 1.4])
    data = write(tmp_path / "in", {"a": (exact, RATE)}, subtype=subtype)
    [utterance], _ = format_data_dir(data, tmp_path / "out")
    expected = np.clip(np.round(exact * 32768), -32768, 32767)
    np.testing.assert_array_equal(integers(utterance.wav), expected)


def test_of_channels_only_what_is_odd_is_told(tmp_path, caplog):
    """A corpus may be stereo in all its recordings."""
    both, left = tone(0.5), np.stack([tone(0.5), 0 * tone(0.5)], axis=1)
    data = write(tmp_path / "in", {"a": (np.stack([both] * 2, axis=1), RATE), "b": (left, RATE)})
    format_data_dir(data, tmp_path / "out")
    [told] = caplog.messages
    assert told.startswith("b (") and "left out (silent)" in told


def test_other_rates_and_channels_are_converted(tmp_path):
    stereo = np.stack([tone(1.0, 44100, 440)] * 2, axis=1)
    data = write(tmp_path / "in", {"a": (stereo, 44100)})
    [utterance], _ = format_data_dir(data, tmp_path / "out")
    samples = read_audio(utterance.wav)
    assert len(samples) == RATE == utterance.seconds * RATE
    np.testing.assert_allclose(samples[2000:14000], tone(1.0, pitch=440)[2000:14000], atol=0.02)
    [utterance], _ = format_data_dir(data, tmp_path / "out", sampling_rate=8000)
    assert soundfile.info(utterance.wav).samplerate == 8000, "another rate isn't taken for done"


def test_everything_but_the_audio_stays(data_dir, tmp_path):
    format_data_dir(data_dir, tmp_path / "out")
    for name in ("text", "utt2spk", "spk2utt", "utt2dur", "excluded.tsv"):
        assert (tmp_path / "out" / name).read_text() == (data_dir / name).read_text()
    assert read_kaldi(data_dir / "wav.scp").keys() == read_kaldi(tmp_path / "out" / "wav.scp").keys()


def test_flac_that_fits_stays_where_it_is_unless_a_copy_is_asked_for(tmp_path):
    data = write(tmp_path / "in", {"a": (tone(0.5), RATE), "b": (tone(0.5, 8000), 8000)}, suffix="flac")
    kept, _ = format_data_dir(data, tmp_path / "out")
    assert [u.wav for u in kept] == [str(tmp_path / "in/a.flac"), str(tmp_path / "out/audio/s1/b.flac")]
    kept, _ = format_data_dir(data, tmp_path / "copy", keep_fitting=False)
    assert [u.wav for u in kept] == [str(tmp_path / f"copy/audio/s1/{name}.flac") for name in "ab"]
    np.testing.assert_array_equal(integers(kept[0].wav), integers(tmp_path / "in/a.flac"))


def test_what_is_done_is_kept_and_what_has_changed_is_done_again(data_dir, tmp_path, monkeypatch):
    """As a run that was killed leaves it: two whole files, and one cut short by a crash of the machine."""
    format_data_dir(data_dir, tmp_path / "out")
    first = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    audio = tmp_path / "out" / "audio" / "s1"
    (audio / "a.flac").unlink()
    (audio / "b.flac").write_bytes(b"")
    soundfile.write(data_dir.parent / "c.wav", tone(0.25), RATE)
    read, reader = [], read_audio
    monkeypatch.setattr(
        format_module, "read_audio", lambda *a, **k: read.append(Path(a[0]).stem) or reader(*a, **k)
    )
    kept, _ = format_data_dir(data_dir, tmp_path / "out")
    assert read == ["a", "b", "c"]
    assert kept[2].seconds == 0.25
    for path, content in first.items():
        if path.name not in ("c.flac", "utt2dur"):
            assert path.read_bytes() == content, path


def test_several_processes_write_the_same(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "PER_PROCESS", 1)
    calls = []
    alone, _ = format_data_dir(data_dir, tmp_path / "out", nj=1)
    one = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.flac")}
    shutil.rmtree(tmp_path / "out")
    (data_dir.parent / "d.wav").write_bytes(b"")
    several, reasons = format_data_dir(
        data_dir, tmp_path / "out", nj=2, max_left_out=0.3, progress=lambda *done: calls.append(done)
    )
    assert several == alone[:3] and list(reasons) == ["d"]
    two = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.flac")}
    assert two == {name: content for name, content in one.items() if name != "d.flac"}
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    "damage", ["truncated", "empty", "missing", "nan", "silence", "truncated flac", "empty flac"]
)
def test_a_broken_file_is_named_and_left_out_up_to_the_limit(tmp_path, damage, capsys):
    suffix = "flac" if "flac" in damage else "wav"
    data = write(tmp_path / "in", {name: (tone(2.0), RATE) for name in "abcd"}, suffix)
    broken = tmp_path / "in" / f"b.{suffix}"
    if damage == "nan":
        soundfile.write(broken, np.full(1000, np.nan), RATE, subtype="FLOAT")
    elif damage == "silence":
        soundfile.write(broken, np.zeros(1000), RATE)
    elif damage == "missing":
        broken.unlink()
    else:
        broken.write_bytes(broken.read_bytes()[:-2000] if "truncated" in damage else b"")
    argv = [str(data), "--output-dir", str(tmp_path / "out")]
    assert main(argv) == 1
    error = capsys.readouterr().err
    assert "1 of 4 utterances would be left out, more than 5%" in error and "b: " in error
    assert not (tmp_path / "out" / "wav.scp").exists()
    assert main([*argv, "--max-left-out", "0.25"]) == 0
    out = capsys.readouterr().out
    assert "left out b: " in out and f"b.{suffix}" in out and "3 utterances" in out and "1 left out" in out
    assert list(read_excluded(tmp_path / "out")) == ["b", "z"]
    assert [u.id for u in read_data_dir(tmp_path / "out")] == ["a", "c", "d"]


def test_wrong_arguments_are_refused(data_dir, tmp_path, capsys):
    assert main([str(data_dir), "--output-dir", str(data_dir)]) == 1
    assert "a directory of its own" in capsys.readouterr().err
    with pytest.raises(ValueError, match="mp3"):
        format_data_dir(data_dir, tmp_path / "out", "mp3")
    with pytest.raises(ValueError, match="nj is 0"):
        list(map_parallel(abs, [1], 0))


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.25])
def test_pitch_and_tempo_change_together(factor):
    """A tone of 400 Hz played at f is a tone of 400 f Hz of 1/f the length."""
    faster = change_speed(tone(2.0, pitch=400), factor)
    assert len(faster) == int(np.ceil(32000 / factor))
    expected = tone(len(faster) / RATE, pitch=400 * factor)[: len(faster)]
    np.testing.assert_allclose(faster[500:-500], expected[500:-500], atol=0.01)


@given(st.integers(1, 3000), st.sampled_from([0.8, 0.9, 0.95, 1.1, 1.15]))
def test_lengths_are_what_sox_gives(samples, factor):
    assert abs(len(change_speed(np.zeros(samples, dtype=np.float32), factor)) - samples / factor) < 1


@pytest.fixture
def two(tmp_path):
    """Recordings of one second: a by the speaker s1, and b, a loud one."""
    loud = np.sign(tone(1.0)) * 0.999
    return write(tmp_path / "in", {"a": (tone(1.0, pitch=400), RATE), "b": (loud, RATE)})


def test_a_directory_at_three_speeds(two, tmp_path):
    perturb_speed(two, tmp_path / "sp")
    utterances = {u.id: u for u in read_data_dir(tmp_path / "sp")}
    assert list(utterances) == ["a", "b", "sp0.9-a", "sp0.9-b", "sp1.1-a", "sp1.1-b"]
    assert utterances["a"] == read_data_dir(two)[0]
    assert utterances["sp0.9-b"].speaker == "sp0.9-s1" and utterances["sp0.9-b"].text == "дом"
    for utterance in utterances.values():
        assert len(read_audio(utterance.wav)) == round(utterance.seconds * RATE)
    assert utterances["sp0.9-a"].seconds == pytest.approx(1 / 0.9, abs=1e-4)
    assert read_excluded(tmp_path / "sp") == {"z": "audio without transcript"}
    loud = change_speed(read_audio(tmp_path / "in/b.wav"), 0.9)
    assert np.abs(loud).max() > 1, "it is clipped, not wrapped"
    np.testing.assert_allclose(read_audio(utterances["sp0.9-b"].wav), np.clip(loud, -1, 1), atol=1e-4)


def test_speeds_and_recordings_that_cannot_be_used(two, tmp_path, capsys):
    for factors in ([], [0.9, 0.9], [0.0], [-1.0, 1.0]):
        with pytest.raises(ValueError, match="speed factors"):
            perturb_speed(two, tmp_path / "sp", factors)
    argv = [str(two), "--output-dir", str(tmp_path / "sp"), "--factors", "1.1", "1"]
    assert speed.main(argv) == 0
    assert "4 utterances" in capsys.readouterr().out
    assert speed.main([str(two), "--output-dir", str(two)]) == 1
    soundfile.write(tmp_path / "in/a.wav", tone(1.0, 8000), 8000)
    assert speed.main(argv) == 1
    assert "sp1.1-a (" in (error := capsys.readouterr().err) and "8000 Hz" in error
    kept = perturb_speed(two, tmp_path / "sp", max_left_out=0.5)
    assert [u.id for u in kept] == ["a", "b", "sp0.9-b", "sp1.1-b"], "the original is for `format` to judge"
    assert list(read_excluded(tmp_path / "sp")) == ["sp0.9-a", "sp1.1-a", "z"]


def test_speeds_that_are_done_are_kept_and_several_processes_write_the_same(two, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "PER_PROCESS", 1)
    first = perturb_speed(two, tmp_path / "sp", audio_format="flac")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "sp").rglob("*.flac")}
    gone, *_ = files
    content = gone.read_bytes()
    gone.unlink()
    assert perturb_speed(two, tmp_path / "sp", audio_format="flac", nj=2) == first
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "sp").rglob("*.flac")}
    assert len(files) == 4 and {path for path in files if again[path] != files[path]} == {gone}
    assert gone.read_bytes() == content


def test_real_excerpts(real_audio, tmp_path):
    """LibriSpeech's own FLAC stays where it is; as WAV its samples are the same."""
    flacs = sorted((real_audio / "LibriSpeech").rglob("*.flac"))[:3]
    if not flacs:
        pytest.skip("no LibriSpeech in IMLSPIKE_TEST_DATA")
    utterances = [Utterance(path.stem, str(path), "A", "s", soundfile.info(path).duration) for path in flacs]
    write_data_dir(tmp_path / "data", utterances)
    kept, reasons = format_data_dir(tmp_path / "data", tmp_path / "out")
    assert kept == utterances and not reasons
    for as_wav, path in zip(
        format_data_dir(tmp_path / "data", tmp_path / "wav", "wav")[0], flacs, strict=True
    ):
        np.testing.assert_array_equal(integers(as_wav.wav), integers(path))
