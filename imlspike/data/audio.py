"""Reading audio so that nothing wrong gets through in silence, however long the recording is."""

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
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
    return np.concatenate(list(stream_audio(path, sampling_rate, name, on_mismatch)))


def stream_audio(
    path: str | os.PathLike,
    sampling_rate: int = 16000,
    name: str | None = None,
    on_mismatch: OnMismatch = "error",
    block_seconds: float = 10.0,
) -> Iterator[np.ndarray]:
    """The waveform of `read_audio` in blocks, without ever holding the whole file.

    Args:
        block_seconds: about how long a block is; the waveform doesn't depend on it (up to rounding, where it
            is resampled). The others: as for `read_audio`.

    Raises:
        AudioError, ValueError: as `read_audio`, some of them only when that place of the file is reached.
    """
    if on_mismatch not in ("error", "convert"):
        raise ValueError(f"on_mismatch is {on_mismatch!r}; expected 'error' or 'convert'")
    who = f"{name} ({path})" if name else str(path)
    form = audio_format(path, name)
    if on_mismatch == "error" and (form.sampling_rate, form.channels) != (sampling_rate, 1):
        raise AudioError(
            f"{who}: {form.sampling_rate} Hz with {form.channels} channel(s); expected {sampling_rate} Hz "
            "mono. Convert the file, or allow it with on_mismatch='convert'"
        )
    blocks = _mono_blocks(Path(path), who, max(1, round(block_seconds * form.sampling_rate)))
    yield from resample_blocks(blocks, form.sampling_rate, sampling_rate)


def audio_format(path: str | os.PathLike, name: str | None = None) -> AudioFormat:
    """Read the header of an audio file, and refuse what can be seen to be wrong from it.

    Raises:
        AudioError: for a file that is missing, empty, not audio, a truncated WAV, or of a rate that no sound
            has; names it and `name`.
    """
    path, who = Path(path), f"{name} ({path})" if name else str(path)
    if not path.is_file():
        raise AudioError(f"{who}: no such file; check its name, or the line of wav.scp")
    if path.stat().st_size == 0:
        raise AudioError(f"{who}: the file is empty (0 bytes); copy or record it again, or leave it out")
    if missing := _missing_wav_bytes(path):
        raise AudioError(
            f"{who}: truncated, its header promises {missing} more bytes than there are; "
            "copy it again, or re-encode it if the shorter recording is right"
        )
    sound = _open(path, who)
    if not isinstance(sound, AudioFormat):
        with sound:
            seconds = sound.frames / sound.samplerate if sound.frames < UNKNOWN_LENGTH else None
            sound = AudioFormat(sound.samplerate, sound.channels, seconds)
    try:
        check_rate(sound.sampling_rate)
    except ValueError as error:
        raise AudioError(f"{who}: {error}; write the file again from its source") from None
    return sound


def check_rate(rate: float) -> int:
    """A sampling rate in Hz, as an int.

    Raises:
        ValueError: for what isn't a whole number, or no rate that sound is recorded at.

    >>> check_rate(44100.0)
    44100
    """
    if not isinstance(rate, Real) or not LEAST_RATE <= rate <= MOST_RATE or rate != int(rate):
        raise ValueError(
            f"sampling_rate is {rate!r}; expected a whole number of Hz from {LEAST_RATE} to {MOST_RATE}"
        )
    return int(rate)


def _open(path: Path, who: str) -> soundfile.SoundFile | AudioFormat:
    """The file opened by libsndfile, or what ffmpeg tells of a file that is to be read by ffmpeg.

    MP3 is ffmpeg's where `av` is installed: of one of varying bitrate without the header that notes its
    length, libsndfile reads only a part.
    """
    if path.suffix.lower() == ".g722":  # headerless: libsndfile might take it for anything
        return container_audio.audio_format(path, who)
    try:
        with _quiet(path.suffix.lower() == ".mp3"):
            sound = _Forwards(path)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        if not container_audio.available():
            raise AudioError(
                f"{who}: not readable as audio ({error}); expected WAV, FLAC, Ogg, Opus, MP3 or AIFF. For "
                "m4a, AAC, WebM, G.722 and video (by ffmpeg): pip install 'imlspike[audio]'"
            ) from None
    else:
        if sound.format != "MP3" or not container_audio.available():
            return sound
        sound.close()
    return container_audio.audio_format(path, who)


def resample_blocks(blocks: Iterable[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """Resample a waveform that comes in blocks; how it was cut into blocks leaves no trace (up to rounding).

    The filter is that of `torchaudio.transforms.Resample`: a windowed sinc of finite width, so every output
    sample needs only that many input samples around it, which are kept from block to block. Rates whose ratio
    has a denominator over 1000 (44101 to 16000 Hz), which would need a filter of gigabytes, are taken for the
    nearest ratio that hasn't; that is at most 0.05 % off.

    Args:
        blocks: float32 arrays `(samples,)`.
        from_rate, to_rate: in Hz.

    Yields:
        float32 arrays `(samples,)`, in all of length ceil(samples * to_rate / from_rate).

    Raises:
        ValueError: for rates that `check_rate` refuses.

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
    """A file read from its beginning to its end, without the jump that soundfile makes after every read.

    To jump into an MP3 is not exact: from the second block on, libsndfile would give other samples.
    """

    def seekable(self) -> bool:
        return False


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
    done = 0
    sound = _open(path, who)
    decoded = isinstance(sound, AudioFormat)
    with nullcontext() if decoded else sound:
        parts = container_audio.decode(path, who) if decoded else _read(sound, who, block)
        for samples in parts:
            finite = np.isfinite(samples).all(axis=1)
            if not finite.all():
                bad = done + int(np.argmin(finite))
                raise AudioError(
                    f"{who}: NaN or infinity at sample {bad}; write the file again from its source"
                )
            done += len(samples)
            yield samples.mean(axis=1)
        # An MP3 has no length, only an estimate; a FLAC that was streamed into a file has none either.
        no_length = decoded or sound.format == "MP3"
        no_length = no_length or (sound.format == "FLAC" and sound.frames == UNKNOWN_LENGTH)
        expected = done if no_length else sound.frames
    if done == 0:
        raise AudioError(f"{who}: holds no samples; record it again, or leave it out")
    if done < expected:
        raise AudioError(f"{who}: truncated, {done} of {expected} samples can be read; copy it again")


def _read(sound: soundfile.SoundFile, who: str, block: int) -> Iterator[np.ndarray]:
    """Float32 `(block, channels)` by libsndfile."""
    try:
        while True:
            with _quiet(sound.format == "MP3"):
                samples = sound.read(block, dtype="float32", always_2d=True)
            if not len(samples):
                return
            yield samples
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{who}: damaged ({error}); copy or write it again") from None


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
