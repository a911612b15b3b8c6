"""Reading audio so that nothing wrong gets through in silence."""

import os
import struct
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import torch
import torchaudio

OnMismatch = Literal["error", "convert"]


class AudioError(ValueError):
    """An audio file that can't be used as it is; the message names it, what was expected and the way out."""


def read_audio(
    path: str | os.PathLike,
    sampling_rate: int = 16000,
    name: str | None = None,
    on_mismatch: OnMismatch = "error",
) -> np.ndarray:
    """Read one mono waveform as float32 `(samples,)` with full scale at 1.

    Args:
        path: any file libsndfile reads (WAV, FLAC, Ogg, MP3, ...).
        sampling_rate: the rate wanted, in Hz.
        name: the utterance to name in errors, where it differs from the file.
        on_mismatch: what to do with another sampling rate or several channels: "error" refuses the file,
            "convert" resamples it and takes the mean of its channels.

    Raises:
        AudioError: for a file that is missing, empty, not audio, shorter than its header promises (a WAV
            header written by a stream, with no true length, counts as that), that holds NaN or infinity, or
            doesn't match.
        ValueError: for an unknown `on_mismatch`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.wav"
    >>> soundfile.write(path, np.zeros((4410, 2)), 44100)
    >>> read_audio(path, on_mismatch="convert").shape
    (1600,)
    """
    if on_mismatch not in ("error", "convert"):
        raise ValueError(f"on_mismatch is {on_mismatch!r}; expected 'error' or 'convert'")
    path = Path(path)
    who = f"{name} ({path})" if name else str(path)
    samples, rate = _read(path, who)
    channels = samples.shape[1]
    if on_mismatch == "error" and (rate != sampling_rate or channels != 1):
        raise AudioError(
            f"{who}: {rate} Hz with {channels} channel(s); expected {sampling_rate} Hz mono. "
            "Convert the file, or allow it with on_mismatch='convert'"
        )
    mono = samples.mean(axis=1)
    if rate != sampling_rate:
        mono = torchaudio.functional.resample(torch.from_numpy(mono), rate, sampling_rate).numpy()
    return mono


def _read(path: Path, who: str) -> tuple[np.ndarray, int]:
    """The whole file as float32 `(samples, channels)` and its rate, checked."""
    if not path.is_file():
        raise AudioError(f"{who}: no such file; check the corpus folder or wav.scp")
    if path.stat().st_size == 0:
        raise AudioError(f"{who}: the file is empty (0 bytes); copy or record it again, or leave it out")
    missing = _missing_wav_bytes(path)
    if missing:
        raise AudioError(
            f"{who}: truncated, its header promises {missing} more bytes than there are; "
            "copy it again, or re-encode it if the shorter recording is right"
        )
    try:
        with soundfile.SoundFile(path) as sound:
            expected, rate = sound.frames, sound.samplerate
            samples = sound.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{who}: not readable as audio ({error}); expected WAV, FLAC, Ogg or MP3") from None
    if len(samples) == 0:
        raise AudioError(f"{who}: holds no samples; record it again, or leave it out")
    if len(samples) < expected:
        raise AudioError(f"{who}: truncated, {len(samples)} of {expected} samples can be read; copy it again")
    if not np.isfinite(samples).all():
        bad = int(np.argmin(np.isfinite(samples).all(axis=1)))
        raise AudioError(f"{who}: NaN or infinity at sample {bad}; write the file again from its source")
    return samples, rate


def _missing_wav_bytes(path: Path) -> int:
    """How many bytes of the `data` chunk a RIFF WAV lacks: libsndfile reads such files without a word."""
    size = path.stat().st_size
    with open(path, "rb") as wav:
        head = wav.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return 0
        while len(chunk := wav.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            start = wav.tell()
            if name == b"data" or start + length > size:
                return max(0, start + length - size)
            wav.seek(length + length % 2, os.SEEK_CUR)
    return 0
