"""Numbers that make no sense are refused by the argument's name, in Python and on the command line."""

import numpy as np
import pytest

from imlspike import Speech2Text, Vocoder
from imlspike.bin import synthesize, transcribe, vocode
from imlspike.data.audio import read_audio, stream_audio
from imlspike.inference.loudness import peaks_lowered, scale_loudness
from imlspike.models import SpikingVocos
from imlspike.models.variance_adaptor import Controls
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


@pytest.mark.parametrize("verb", [transcribe, vocode])
def test_a_folder_that_cannot_be_written_is_told_once_and_before(tmp_path, monkeypatch, capsys, verb):
    """As an administrator, to whom all is allowed, too."""
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    out = tmp_path / "of" / "mine"
    words = ["--output-dir", str(out)] if verb is transcribe else [str(out)]
    (tmp_path / "a.wav").write_bytes(wav())
    assert verb.main([str(tmp_path / "a.wav"), *words, "--model", "m"]) == 1
    assert capsys.readouterr().err.count(str(tmp_path)) == 1


def test_channels_are_no_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Speech2Text, "from_pretrained", lambda *args, **options: Speech2Text(decoder))
    (tmp_path / "a.wav").write_bytes(wav(interleaved(speech(), speech()), channels=2))
    assert transcribe.main([str(tmp_path), "--channel", "all", "--model", "m"]) == 0
    assert "transcribe: 1 files, 0.0 min" in capsys.readouterr().err
    assert len(read_audio(tmp_path / "a.wav", on_mismatch="convert")) == RATE
