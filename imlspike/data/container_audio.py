"""Audio by ffmpeg (PyAV): m4a, AAC, WebM, MP3, G.722, video files; what libsndfile doesn't read."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

CUT_SHORT = 0.1  # seconds that may lack of the length a container tells: encoders round it to packets


class AudioError(ValueError):
    """An audio file that can't be used as it is; the message names it, what was expected and the way out."""


@dataclass(frozen=True)
class AudioFormat:
    """The header of an audio file: sampling rate in Hz, channels, duration in seconds.

    The duration of an MP3 is an estimate; that of a file written by a stream may be unknown (None).
    """

    sampling_rate: int
    channels: int
    seconds: float | None

    def mismatch(self, sampling_rate: int) -> str:
        """The difference from mono at `sampling_rate`, in words; "" if there is none."""
        if (self.sampling_rate, self.channels) == (sampling_rate, 1):
            return ""
        found = f"{self.sampling_rate} Hz with {self.channels} channel(s)"
        return f"{found}; expected {sampling_rate} Hz mono"


def available() -> bool:
    """Return whether the package `av` is installed (extra `audio`)."""
    return find_spec("av") is not None


def audio_format(path: Path, who: str) -> AudioFormat:
    """Read what a container tells of its first audio stream; `who` is the utterance, for errors.

    A file named .g722 is raw G.722 at 64 kbit/s, as Asterisk's prompts are.

    Raises:
        AudioError: if `av` isn't installed, or ffmpeg finds no audio there.
    """
    av, container = _open(path, who)
    with container:
        stream = container.streams.audio[0]
        seconds = stream.duration * stream.time_base if stream.duration else None
        if seconds is None and container.duration:
            seconds = container.duration / av.time_base
        if container.format.name == "g722":
            seconds = 2 * path.stat().st_size / stream.rate
        return AudioFormat(stream.rate, stream.channels, seconds and float(seconds))


def decode(path: Path, who: str) -> Iterator[np.ndarray]:
    """Decode the first audio stream to float32 `(samples, channels)`, packet by packet, full scale at 1.

    Raises:
        AudioError: as `audio_format`; also for damaged packets, and for a file that ends before its container
            says it does (an MP3 says so by its Xing or Info header).
    """
    promised, samples = audio_format(path, who).seconds, 0
    av, container = _open(path, who)
    with container:
        stream, to_float = container.streams.audio[0], av.AudioResampler(format="fltp")
        try:
            for frame in container.decode(stream):
                for part in to_float.resample(frame):
                    block = part.to_ndarray().T
                    samples += len(block)
                    yield block
        except av.FFmpegError as error:
            raise AudioError(f"{who}: damaged ({error.strerror}); copy or write it again") from None
        seconds = samples / stream.rate
        if promised and seconds < promised - CUT_SHORT and _keeps_length(path, container.format.name):
            found = f"{seconds:.2f} of {promised:.2f} s can be read"
            raise AudioError(f"{who}: truncated, {found}; copy it again")


def _open(path: Path, who: str):
    """The module av and the container, with at least one audio stream."""
    try:
        import av
    except ImportError:
        raise AudioError(f"{who}: this format needs ffmpeg: pip install 'imlspike[audio]'") from None
    try:
        container = av.open(str(path), format="g722" if path.suffix.lower() == ".g722" else None)
    except av.FFmpegError as error:
        why = f"by ffmpeg either ({error.strerror}); write it again"
        raise AudioError(f"{who}: not readable as audio, {why}") from None
    if not container.streams.audio:
        container.close()
        raise AudioError(f"{who}: holds no audio, only {len(container.streams)} stream(s) of other kinds")
    return av, container


def _keeps_length(path: Path, form: str) -> bool:
    """Tell a length that was written there from one that ffmpeg estimates from the bitrate."""
    if form == "mp3":
        with open(path, "rb") as mp3:
            head = mp3.read(2**20)
        return b"Xing" in head or b"Info" in head
    return "mp4" in form or "matroska" in form
