"""Write audio as it gets ready: whole or not at all, and say what didn't fit in 16 bits."""

import os
from collections.abc import Iterable
from contextlib import suppress
from io import RawIOBase
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from imlspike.data.files import atomic_write

FORMATS = {".wav": "WAV", ".flac": "FLAC"}
MOST_BYTES = {"WAV": 2**32 - 2**10}  # of samples: the header counts in 32 bits


class Written(NamedTuple):
    """The samples that were written, and how many of them were beyond full scale and clipped."""

    samples: int
    clipped: int


def write_audio(
    path: str | os.PathLike, blocks: Iterable[np.ndarray], sampling_rate: int, comment: str = ""
) -> Written:
    """Write a mono waveform that comes in blocks as 16-bit WAV or FLAC, atomically (see `atomic_write`).

    Args:
        path: a name that ends in .wav or .flac; its folder must exist.
        blocks: arrays (s,) of floats with full scale at 1; what is beyond is clipped.
        sampling_rate: in Hz.
        comment: stands in the file's header.

    Raises:
        OSError: it can't be written whole, as on a full disk.
        ValueError: for a name of another kind, no samples at all, NaN or infinity, more than fits in a WAV.
        The old file stays then, and when `blocks` raises anything.
    """
    form = FORMATS.get(Path(path).suffix.lower())
    if form is None:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(FORMATS)}")
    samples = clipped = 0
    with atomic_write(path, "wb") as out:
        sink = _Sink(out.raw)
        with soundfile.SoundFile(sink, "w", sampling_rate, 1, "PCM_16", format=form) as sound:
            if comment:
                sound.comment = comment
            for block in blocks:
                finite = np.isfinite(block)
                if not finite.all():
                    bad = samples + int(np.argmin(finite))
                    raise ValueError(f"{path}: NaN or infinity at sample {bad}; nothing is written")
                samples += len(block)
                if 2 * samples > MOST_BYTES.get(form, samples * 2):
                    raise ValueError(f"{path}: too long for a {form} file; write FLAC")
                clipped += int((np.abs(block) > 1).sum())
                with suppress(AssertionError):  # fewer samples written than given
                    sound.write(np.clip(np.round(block * 2.0**15), -(2**15), 2**15 - 1).astype(np.int16))
                if sink.error:
                    break
        if sink.error:
            raise sink.error
        if samples == 0:
            raise ValueError(f"{path}: there is no audio to write")
    return Written(samples, clipped)


class _Sink:
    """A file for libsndfile, which ignores that a write has failed: the error is kept."""

    def __init__(self, file: RawIOBase):
        self.file, self.error = file, None
        self.seek, self.tell, self.readinto = file.seek, file.tell, file.readinto

    def write(self, data: bytes) -> int:
        done = 0
        try:
            while done < len(data):
                done += self.file.write(data[done:])
        except OSError as error:
            self.error = self.error or error
        return done
