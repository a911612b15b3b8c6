"""Read audio so that nothing wrong gets through in silence, however long the recording is."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from numbers import Real
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
import soundfile
import torch
import torchaudio

from imlspike.data import container_audio
from imlspike.data.container_audio import AudioError, AudioFormat

OnMismatch = Literal["error", "convert"]
UNKNOWN_LENGTH = 2**63 - 1  # libsndfile's number of frames for "unknown"
LEAST_RATE, MOST_RATE = 1000, 1_000_000  # Hz of what may be sound
AT_ONCE = 2**20  # samples resampled in one go; torchaudio counts in float32, which is exact up to 2**24
# What libsndfile, which reads a truncated file without a word, notes of its chunks. The sizes of WAV's and
# AIFF's outermost chunks may be wrong where that of the samples is right.
_CUT = re.compile(r"^ *(?!RIFF|FORM)\w[\w ]*: (\d+) \(should be (\d+)\)$", re.MULTILINE)
_SPHERE_SAMPLES = re.compile(rb"^sample_count -i (\d+)", re.MULTILINE)


def read_audio(
    path: str | os.PathLike,
    sampling_rate: int = 16000,
    name: str | None = None,
    on_mismatch: OnMismatch = "error",
) -> np.ndarray:
    """Read one mono waveform as float32 `(samples,)` with full scale at 1.

    Args:
        path: what libsndfile reads (WAV, FLAC, Ogg, Opus, MP3, ...); with the package `av` (extra `audio`)
            also what ffmpeg reads (m4a, AAC, WebM, G.722, video files), and MP3 by ffmpeg.
        sampling_rate: the rate wanted, in Hz.
        name: the utterance to name in errors.
        on_mismatch: what to do with another sampling rate or several channels: "error" refuses the file,
            "convert" resamples it and takes the mean of its channels.

    Raises:
        AudioError: a file that is missing, empty, not audio, shorter than its header promises (as a WAV from
            a stream whose header has no true length), that holds NaN or infinity, or doesn't match.
    """
    return np.concatenate(list(stream_audio(path, sampling_rate, name, on_mismatch)))


def stream_audio(
    path: str | os.PathLike,
    sampling_rate: int = 16000,
    name: str | None = None,
    on_mismatch: OnMismatch = "error",
    block_seconds: float = 10.0,
) -> Iterator[np.ndarray]:
    """The waveform of `read_audio` in blocks of about `block_seconds`, errors when their place is reached."""
    if on_mismatch not in ("error", "convert"):
        raise ValueError(f"on_mismatch is {on_mismatch!r}; expected 'error' or 'convert'")
    who, form = _who(path, name), audio_format(path, name)
    if on_mismatch == "error" and (found := form.mismatch(sampling_rate)):
        raise AudioError(f"{who}: {found}. Convert the file, or allow it with on_mismatch='convert'")
    blocks = _mono_blocks(Path(path), who, max(1, round(block_seconds * form.sampling_rate)))
    yield from resample_blocks(blocks, form.sampling_rate, sampling_rate)


def audio_format(path: str | os.PathLike, name: str | None = None) -> AudioFormat:
    """Read the header of an audio file.

    AudioError if it is missing, empty, not audio, truncated, or of a rate that no sound has.
    """
    path, who = Path(path), _who(path, name)
    if not path.is_file():
        raise AudioError(f"{who}: no such file; check its name, or the line of wav.scp")
    if path.stat().st_size == 0:
        raise AudioError(f"{who}: the file is empty (0 bytes); copy or record it again, or leave it out")
    sound = _open(path, who)
    if sound is None:
        form = container_audio.audio_format(path, who)
    else:
        with sound:
            seconds = sound.frames / sound.samplerate if sound.frames < UNKNOWN_LENGTH else None
            form = AudioFormat(sound.samplerate, sound.channels, seconds)
    try:
        check_rate(form.sampling_rate)
    except ValueError as error:
        raise AudioError(f"{who}: {error}; write the file again from its source") from None
    return form


def check_rate(rate: float) -> int:
    """A sampling rate in Hz, as an int; ValueError for what isn't a whole number, or no rate of sound.

    >>> check_rate(44100.0)
    44100
    """
    if not isinstance(rate, Real) or not LEAST_RATE <= rate <= MOST_RATE or rate != int(rate):
        expected = f"a whole number of Hz from {LEAST_RATE} to {MOST_RATE}"
        raise ValueError(f"sampling_rate is {rate!r}; expected {expected}")
    return int(rate)


def resample_blocks(blocks: Iterable[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """Resample a waveform that comes in blocks; how it was cut into blocks leaves no trace (up to rounding).

    The filter is that of `torchaudio.transforms.Resample`, a windowed sinc: as many input samples as it is
    wide are kept from block to block. Rates whose ratio has a denominator over 1000 (44101 to 16000 Hz) would
    need a filter of gigabytes, and are taken for the nearest ratio that hasn't, at most 0.05 % off.

    Args:
        blocks: float32 arrays `(samples,)`.
        from_rate, to_rate: in Hz, such as `check_rate` takes.

    Yields: float32 arrays `(samples,)`, in all of length ceil(samples * to_rate / from_rate).

    >>> blocks = [np.zeros(5, dtype=np.float32), np.zeros(4405, dtype=np.float32)]
    >>> sum(map(len, resample_blocks(blocks, 44100, 16000)))
    1600
    """
    ratio = Fraction(check_rate(from_rate), check_rate(to_rate)).limit_denominator(1000)
    step_in, step_out = ratio.numerator, ratio.denominator
    if step_in == step_out:
        yield from blocks
        return
    resample = torchaudio.transforms.Resample(step_in, step_out)
    steps_around = -(-resample.width // step_in)
    around, skip = steps_around * step_in, steps_around * step_out
    held = np.zeros(around, dtype=np.float32)  # what lies before the beginning is silence
    for part in (part for block in blocks for part in np.split(block, range(AT_ONCE, len(block), AT_ONCE))):
        held = np.concatenate([held, part])
        ready = (len(held) - 2 * around) // step_in * step_in  # with all their surroundings
        if ready > 0:
            out = resample(torch.from_numpy(held[: ready + 2 * around])).numpy()
            yield out[skip : skip + ready // step_in * step_out]
            held = held[ready:]
    yield resample(torch.from_numpy(held)).numpy()[skip:]


class _Forwards(soundfile.SoundFile):
    """A file without the jump that soundfile makes after every read, which is not exact within an MP3."""

    def seekable(self) -> bool:
        return False


def _who(path: str | os.PathLike, name: str | None) -> str:
    return f"{name} ({path})" if name else str(path)


def _open(path: Path, who: str) -> soundfile.SoundFile | None:
    """Open a file by libsndfile; None for what is read by ffmpeg."""
    if path.suffix.lower() == ".g722":  # headerless: libsndfile might take it for anything
        return None
    try:
        with _quiet(path.suffix.lower() == ".mp3"):
            sound = _Forwards(path)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        if container_audio.available():
            return None
        raise AudioError(
            f"{who}: not readable as audio ({error}); expected WAV, FLAC, Ogg, Opus, MP3 or AIFF. For "
            "m4a, AAC, WebM, G.722 and video (by ffmpeg): pip install 'imlspike[audio]'"
        ) from None
    if sound.format == "MP3" and container_audio.available():
        sound.close()  # of varying bitrate, without a header that notes its length, it would be read in part
        return None
    if missing := _missing(sound, path):
        sound.close()
        raise AudioError(
            f"{who}: truncated, its header promises {missing} than there are; copy it again, or "
            "re-encode it if the shorter recording is right"
        )
    return sound


def _missing(sound: soundfile.SoundFile, path: Path) -> str:
    """How much a file lacks of what its header promises; "" if nothing."""
    for promised, there in _CUT.findall(sound.extra_info):
        if int(promised) > int(there):
            return f"{int(promised) - int(there)} more bytes"
    if sound.format == "NIST":
        with open(path, "rb") as file:
            promised = _SPHERE_SAMPLES.search(file.read(1024))
        if promised and int(promised[1]) > sound.frames:
            return f"{int(promised[1]) - sound.frames} more samples"
    return ""


_STDERR = Lock()


@contextmanager
def _quiet(is_mp3: bool) -> Iterator[None]:
    """Keep from the user what libmpg123 writes to stderr, the process's own, of a damaged MP3.

    For one call of libsndfile, so that nothing else is lost; a thread at a time.
    """
    if not is_mp3:
        yield
        return
    with _STDERR, open(os.devnull, "wb") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _mono_blocks(path: Path, who: str, block: int) -> Iterator[np.ndarray]:
    """The file's samples as float32 `(block,)`, channels averaged, checked."""
    sound, done = _open(path, who), 0
    for samples in container_audio.decode(path, who) if sound is None else _read(sound, who, block):
        finite = np.isfinite(samples).all(axis=1)
        if not finite.all():
            bad = done + int(np.argmin(finite))
            raise AudioError(f"{who}: NaN or infinity at sample {bad}; write the file again from its source")
        done += len(samples)
        yield samples.mean(axis=1)
    if done == 0:
        raise AudioError(f"{who}: holds no samples; record it again, or leave it out")


def _read(sound: soundfile.SoundFile, who: str, block: int) -> Iterator[np.ndarray]:
    """Float32 `(block, channels)` by libsndfile, all that the header promises."""
    done = 0
    with sound:
        try:
            while True:
                with _quiet(sound.format == "MP3"):
                    samples = sound.read(block, dtype="float32", always_2d=True)
                if not len(samples):
                    break
                done += len(samples)
                yield samples
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioError(f"{who}: damaged ({error}); copy or write it again") from None
        # An MP3 has no length, only an estimate; a FLAC that was streamed into a file has none either.
        if done < sound.frames < UNKNOWN_LENGTH and sound.format != "MP3":
            raise AudioError(f"{who}: truncated, {done} of {sound.frames} samples can be read; copy it again")
