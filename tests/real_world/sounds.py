"""Small recordings of many kinds, and what recorders, pipes and bad disks make of them."""

import struct
from fractions import Fraction
from functools import cache
from io import BytesIO

import av
import numpy as np
import soundfile

RATE = 16000


def speech(seconds: float = 1.0, rate: int = RATE, pitch: float = 150.0) -> np.ndarray:
    """A buzz that swells and fades like syllables, float32 (s,), RMS about 0.1."""
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 9))
    return (0.12 * buzz * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))).astype(np.float32)


def pcm(seconds: float = 1.0, rate: int = RATE) -> bytes:
    """`speech` as 16-bit little-endian samples."""
    return np.round(speech(seconds, rate) * 32767).astype("<i2").tobytes()


def chunk(name: bytes, content: bytes, size: int | None = None, pad: bool = True) -> bytes:
    """A RIFF chunk; `size` is what its header says in place of the truth."""
    told = len(content) if size is None else size
    return name + struct.pack("<I", told) + content + b"\0" * (len(content) % 2 and pad)


def wav(
    data: bytes | None = None,
    size: int | None = None,
    riff: int | None = None,
    before: bytes = b"",
    behind: bytes = b"",
    rate: int = RATE,
    channels: int = 1,
    bits: int = 16,
    kind: int = 1,
    pad: bool = True,
) -> bytes:
    """A WAV file, whose header may tell other sizes than the truth."""
    data, align = pcm() if data is None else data, channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * align & 2**32 - 1, align & 65535, bits)
    chunks = chunk(b"fmt ", form) + before + chunk(b"data", data, size, pad) + behind
    return b"RIFF" + struct.pack("<I", len(chunks) + 4 if riff is None else riff) + b"WAVE" + chunks


def interleaved(*channels: np.ndarray) -> bytes:
    """Channels as 16-bit samples."""
    return np.round(np.stack(channels, axis=1) * 32767).astype("<i2").tobytes()


@cache
def sndfile(form: str, seconds: float = 1.0, rate: int = RATE, subtype: str | None = None) -> bytes:
    """`speech` as libsndfile writes it."""
    out = BytesIO()
    soundfile.write(out, speech(seconds, rate), rate, format=form, subtype=subtype)
    return out.getvalue()


@cache
def ffmpeg(form: str, codec: str, seconds: float = 1.0, rate: int = RATE, tracks: int = 1) -> bytes:
    """`speech` as ffmpeg writes it; further tracks are silent."""
    out = BytesIO()
    with av.open(out, "w", format=form) as container:
        streams = [container.add_stream(codec, rate=rate, layout="mono") for _ in range(tracks)]
        for stream in streams:
            stream.codec_context.open()
        for number, stream in enumerate(streams):
            context = stream.codec_context
            samples = speech(seconds, rate)[None] * (number == 0)
            frame = av.AudioFrame.from_ndarray(samples.astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate = rate
            fit = av.AudioResampler(context.format, "mono", rate, frame_size=context.frame_size or 1024)
            for part in (*fit.resample(frame), *fit.resample(None), None):
                container.mux(stream.encode(part))
    return out.getvalue()


def video(
    form: str, picture: str | None, codec: str, late: float = 0.0, options: dict | None = None
) -> bytes:
    """A second of `speech` at 48 kHz that begins `late`, and a gray picture."""
    out, packets, at = BytesIO(), [], round(late * 48000)
    with av.open(out, "w", format=form, options=options or {}) as container:
        if picture:
            film = container.add_stream(picture, rate=25)
            film.width = film.height = 64
            film.pix_fmt = "yuv420p"
        stream = container.add_stream(codec, rate=48000, layout="mono")
        context = stream.codec_context
        context.open()
        frame = av.AudioFrame.from_ndarray(speech(1.0, 48000)[None], format="fltp", layout="mono")
        frame.sample_rate = 48000
        fit = av.AudioResampler(context.format, "mono", 48000, frame_size=context.frame_size or 1920)
        for part in (*fit.resample(frame), *fit.resample(None), None):
            if part:
                part.pts, part.time_base, at = at, Fraction(1, 48000), at + part.samples
            packets += stream.encode(part)
        for number in range(round((1 + late) * 25) if picture else 0):
            image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, np.uint8), format="rgb24")
            image.pts = number
            packets += film.encode(image)
        packets += film.encode(None) if picture else []
        for packet in sorted((one for one in packets if one.size), key=lambda one: one.dts * one.time_base):
            container.mux(packet)
    return out.getvalue()


def hole(content: bytes, at: float = 0.5, size: int = 400) -> bytes:
    """With zeros in the middle."""
    start = round(len(content) * at)
    return content[:start] + bytes(size) + content[start + size :]


def flipped(content: bytes, at: float = 0.5) -> bytes:
    """With one bit turned."""
    start = round(len(content) * at)
    return content[:start] + bytes([content[start] ^ 16]) + content[start + 1 :]


def cut(content: bytes, share: float = 0.5) -> bytes:
    """The beginning."""
    return content[: round(len(content) * share)]
