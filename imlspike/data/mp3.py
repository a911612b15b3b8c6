"""What the frames of an MP3 tell about its length, which libsndfile takes as it comes."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

# Sampling rates and kbit/s of layer III, by the version in a frame's header (3: MPEG 1, 2: MPEG 2, 0: 2.5).
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KBITS = {version: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160) for version in (0, 2)}
_KBITS[3] = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)


def missing_mp3_bytes(path: str | os.PathLike) -> int:
    """How many bytes an MP3 lacks of those that its encoder noted; 0 for what notes none, or is no MP3.

    libsndfile reads a truncated MP3 as far as it goes, without a word.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.mp3"
    >>> path.write_bytes(b"no MP3") and missing_mp3_bytes(path)
    0
    """
    with open(path, "rb") as mp3:
        start = _after_tags(mp3)
        _, size = _noted(mp3, start)
    return max(0, start + size - Path(path).stat().st_size)


def has_unknown_length(path: str | os.PathLike) -> bool:
    """Whether an MP3 has frames of several bitrates and doesn't note their number.

    libsndfile then takes the first frame's bitrate for all, estimates the length from that, and reads no
    further: where that is much, most of the recording is lost in silence.
    """
    with open(path, "rb") as mp3:
        start = _after_tags(mp3)
        frames, _ = _noted(mp3, start)
        if frames:
            return False
        rates = _bitrates(mp3, start)
        first = next(rates, None)
        return any(rate != first for rate in rates)


def _after_tags(mp3: IO[bytes]) -> int:
    """Where the first frame begins: ID3v2 tags, whose size stands in 7 bits of 4 bytes, lie before it."""
    start = 0
    while len(head := mp3.read(10)) == 10 and head[:3] == b"ID3":
        high, middle, low, lowest = (byte & 0x7F for byte in head[6:])
        start += 10 + (high << 21 | middle << 14 | low << 7 | lowest)
        mp3.seek(start)
    return start


def _noted(mp3: IO[bytes], start: int) -> tuple[int, int]:
    """Frames and bytes from the first frame on, as it notes them; 0 for what it doesn't.

    Encoders put "Xing" or "Info" behind the frame's 4 bytes and 9, 17 or 32 more (as version and channels
    demand), then flags, and if their bits 0 and 1 are set the numbers of frames and of bytes.
    """
    mp3.seek(start)
    head = mp3.read(52)
    at = next((at for at in (13, 21, 36) if head[at : at + 4] in (b"Xing", b"Info")), None)
    if at is None or len(head) < 52 or head[0] != 0xFF:
        return 0, 0
    flags, *numbers = struct.unpack(">3I", head[at + 4 : at + 16])
    numbers = iter(numbers)
    return next(numbers) if flags & 1 else 0, next(numbers) if flags & 2 else 0


def _bitrates(mp3: IO[bytes], at: int) -> Iterator[int]:
    """The bitrate of each frame of layer III in kbit/s, up to where no frame begins."""
    while True:
        mp3.seek(at)
        head = mp3.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] >> 1 & 0x73 != 0x71:
            return
        version, bitrate, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
        if version not in _RATES or not 0 < bitrate < 15 or rate == 3:
            return
        kbits = _KBITS[version][bitrate]
        yield kbits
        at += (144 if version == 3 else 72) * 1000 * kbits // _RATES[version][rate] + (head[2] >> 1 & 1)
