"""Numbers that make no sense are refused by the argument's name, in Python and on the command line."""

import numpy as np
import pytest

from imlspike import Speech2Text, Vocoder
from imlspike.bin import synthesize, transcribe, vocode
from imlspike.bin._command import Report
from imlspike.data.audio import read_audio, stream_audio
from imlspike.data.controls import Controls
from imlspike.inference.loudness import peaks_lowered, scale_loudness
from imlspike.models import SpikingVocos
from tests.real_world.sounds import RATE, interleaved, speech, wav
from tests.real_world.test_batch import decoder

NONSENSE = [float("nan"), float("inf"), -1, 1e300, 10**400, "1", True]
WAVE = np.zeros(RATE, dtype=np.float32)
VOCODER = SpikingVocos(dim=8, intermediate_dim=16, num_layers=1)
CALLS = {
    "max_seconds": lambda value: Speech2Text(decoder)(WAVE, max_seconds=value),
    "batch_seconds": lambda value: Speech2Text(decoder)(WAVE, batch_seconds=value),
    "sampling_rate": lambda value: Speech2Text(decoder)(WAVE, sampling_rate=value),
    "chunk_seconds": lambda value: Vocoder(VOCODER, chunk_seconds=value),
    "block_seconds": lambda value: list(stream_audio(__file__, block_seconds=value)),
    "speed": lambda value: Controls(speed=value),
    "energy": lambda value: Controls(energy=value),
    "loudness": lambda value: scale_loudness(WAVE, RATE, value if value != -1 else 1),
}
OPTIONS = {
    transcribe: ["--max-seconds", "--batch-seconds", "--beam-size", "--ctc-weight", "--lm-weight"],
    vocode: ["--chunk-seconds"],
    synthesize: ["--speed", "--pitch", "--energy", "--pause", "--loudness", "--nj"],
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("value", NONSENSE, ids=lambda value: str(value)[:9])
def test_in_python(name, value):
    if name in ("max_seconds", "batch_seconds", "chunk_seconds", "block_seconds") and value is True:
        value = None if name in ("batch_seconds", "block_seconds") else "x"
    with pytest.raises(ValueError, match=name):
        CALLS[name](value)


@pytest.mark.parametrize(
    ("verb", "option"), [(verb, one) for verb, all_of in OPTIONS.items() for one in all_of]
)
def test_on_the_command_line(capsys, verb, option):
    """With the range that is allowed."""
    for value in ("nan", "inf", "-inf", "-99", "1e300", "9" * 400, "x", ""):
        with pytest.raises(SystemExit):
            verb.main(["a", "b.wav", "--model", "m", f"{option}={value}"])
        told = capsys.readouterr().err
        assert f"{option}: {value!r} is no" in told and "number from" in told


def test_peaks_that_were_turned_down_are_known():
    time = np.arange(RATE) / RATE
    bursts = (np.random.default_rng(0).normal(size=RATE) * np.exp(-(time % 0.3) * 40)).astype(np.float32)
    assert peaks_lowered(bursts, scale_loudness(bursts, RATE, -10))
    assert not peaks_lowered(speech(), scale_loudness(speech(), RATE))
    assert not peaks_lowered(WAVE, scale_loudness(WAVE, RATE))


@pytest.mark.parametrize("words", [["", "o"], ["a.wav", ""]])
def test_an_empty_name_is_no_folder(capsys, words):
    """As of a variable that isn't set: not all that lies in this folder."""
    for verb, one in ((vocode, words), (transcribe, [words[0], "--output-dir", words[1]])):
        with pytest.raises(SystemExit):
            verb.main([*one, "--model", "m"])
        assert "'' is no name" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [b"\xff\xfe\0", b'5\n[]\n{"output": "a.txt"}\n', b'{"output": "a.'])
def test_a_damaged_manifest_stops_nothing(tmp_path, monkeypatch, capsys, damage):
    """Its whole lines count; an output of a line that is lost is named with the ways out."""
    monkeypatch.setattr(Speech2Text, "from_pretrained", lambda *args, **options: Speech2Text(decoder))
    (tmp_path / "in").mkdir()
    out, manifest = tmp_path / "out", tmp_path / "out" / "manifest.jsonl"
    words = [str(tmp_path / "in"), "--output-dir", str(out), "--model", __file__]
    for name in ("a.wav", "b.wav"):
        (tmp_path / "in" / name).write_bytes(wav())
    assert transcribe.main(words) == 0
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(line for line in lines if b'"a.txt"' not in line) + damage)
    (tmp_path / "in" / "c.wav").write_bytes(wav())
    capsys.readouterr()
    assert transcribe.main(words) == 1
    told = capsys.readouterr().err
    assert f"{out / 'a.txt'} is there, but not in {manifest}" in told and "1 of 3 files were done" in told
    assert (out / "c.txt").is_file()


@pytest.mark.parametrize(
    ("name", "error"),
    [("1", "speakers are numbered 0 to 13"), ("a", "no speaker"), ("a.wav", "aa.wav: empty")],
)
def test_a_failure_names_what_failed_though_its_name_is_part_of_a_word(name, error):
    report = Report((told := []).append)
    report.fail(name, error)
    report.fail("b.wav", "in b.wav: empty")
    assert told == [f"{name}: {error}", "in b.wav: empty"]


def test_a_name_colors_no_terminal(capsys):
    report = Report(print)
    report.fail("a\x1b[31m\n.wav", "empty")
    report.note("mixed down", "b\x1b.wav")
    assert report.end(1, "done") == 1
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "a\\x1b[31m\\n.wav: empty" in shown


def test_channels_are_no_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Speech2Text, "from_pretrained", lambda *args, **options: Speech2Text(decoder))
    (tmp_path / "a.wav").write_bytes(wav(interleaved(speech(), speech()), channels=2))
    assert transcribe.main([str(tmp_path), "--channel", "all", "--model", "m"]) == 0
    assert "transcribe: 1 files, 0.0 min" in capsys.readouterr().err
    assert len(read_audio(tmp_path / "a.wav", on_mismatch="convert")) == RATE
