"""Write audio as it gets ready: whole or not at all, and say what didn't fit in 16 bits."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, NamedTuple

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
        disk = _Disk(out)
        with soundfile.SoundFile(disk, "w", sampling_rate, 1, "PCM_16", format=form) as sound:
            if comment:
                sound.comment = comment
            for block in blocks:
                disk.check()
                finite = np.isfinite(block)
                if not finite.all():
                    bad = samples + int(np.argmin(finite))
                    raise ValueError(f"{path}: NaN or infinity at sample {bad}; nothing is written")
                samples += len(block)
                if 2 * samples > MOST_BYTES.get(form, samples * 2):
                    raise ValueError(f"{path}: too long for a {form} file; write FLAC")
                clipped += int((np.abs(block) > 1).sum())
                sound.write(np.clip(np.round(block * 2.0**15), -(2**15), 2**15 - 1).astype(np.int16))
                disk.check()
        disk.check()
        if samples == 0:
            raise ValueError(f"{path}: there is no audio to write")
    return Written(samples, clipped)


class _Disk:
    """A file for libsndfile that keeps an error of the disk until it can be raised, outside of C."""

    def __init__(self, file: IO[bytes]):
        self.file, self.error = file, None

    def __getattr__(self, name: str):
        def call(*args):
            try:
                if self.error is None:
                    return getattr(self.file, name)(*args)
            except OSError as error:
                self.error = error
            return len(args[0]) if name == "write" else 0  # as if: libsndfile stops at nothing less

        return call

    def check(self) -> None:
        """Raise the first error."""
        if self.error is not None:
            raise self.error
