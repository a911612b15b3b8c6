"""Chunks of WAV, RF64, AIFF, CAF and AU files: whether the length that a header tells is that of the file."""

import re
import struct
from pathlib import Path

# By a file's first bytes: where its chunks begin, bytes of a chunk's size, their order, the chunk of sound.
FORMS = {
    b"RIFF": (12, 4, "little", b"data"),
    b"RF64": (12, 4, "little", b"data"),
    b"FORM": (12, 4, "big", b"SSND"),
    b"caff": (8, 8, "big", b"data"),
}
HEADER = 128  # bytes that a length may be too great by, at most those before it, which some recorders count
BEHIND = 800  # bytes behind the chunks that are no loss: a tenth of a second of telephone speech
# Of a FLAC frame: fixed or varying length, codes of length and rate, its number in the manner of UTF-8.
_FLAC_FRAME = re.compile(
    rb"\xff([\xf8\xf9])(.)[\x00-\xaf]([\0-\x7f]|[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}"
    rb"|[\xf0-\xf7][\x80-\xbf]{3}|[\xf8-\xfb][\x80-\xbf]{4}|[\xfc\xfd][\x80-\xbf]{5}|\xfe[\x80-\xbf]{6})",
    re.DOTALL,
)
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")  # what may stand around sound and is none


def check_length(path: Path) -> None:
    """Compare the length that the header tells; 0 and the greatest numbers, as of streams, are "unknown".

    Files of other forms are left to their readers.

    Raises:
        ValueError: if the file lacks bytes that its header promises, or has others behind that are no chunk.
    """
    size, long = path.stat().st_size, None
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] == b".snd":
            at, promised = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:], "big")
        elif head[:4] not in FORMS:
            return
        else:
            at, width, order, sound = FORMS[head[:4]]
            name, form = b"", b""
            while at + 4 + width <= size and name != sound:
                file.seek(at)
                name, promised = file.read(4), int.from_bytes(file.read(width), order)
                if name == b"fmt ":
                    form = file.read(min(16, promised))
                if name == b"ds64":
                    long = int.from_bytes(file.read(16)[8:], order)
                at += 4 + width + (0 if name == sound else promised + promised % 2)
            if name != sound:
                if head[8:] == b"AVI " and size < int.from_bytes(head[4:8], "little") < 0x7F000000:
                    raise ValueError(
                        "truncated, its header promises more bytes than there are; copy it again"
                    )
                return  # no sound: libsndfile says so
            _check_sizes(form, order)
            promised = long if long is not None and promised == 2**32 - 1 else promised
        lacking = at + promised - size
        if (promised == 0 and lacking < 0) or (lacking > 0 and is_unknown(promised)):
            return
        if lacking > min(HEADER, at):
            told = f"truncated, its header promises {lacking} more bytes than there are; copy it again, or "
            raise ValueError(f"{told}re-encode it if the shorter recording is right")
        at += promised
        while head[:4] in FORMS and at + 4 + width <= size:
            file.seek(at)
            chunk = file.read(5 + width)
            if chunk[0] == 0:  # behind an odd number of bytes; some writers leave it out
                at, chunk = at + 1, chunk[1:]
            if not re.match(rb"[\w ]{4}", chunk) or chunk[:4] in (sound, *FORMS):
                break
            at = min(size, at + 4 + width + int.from_bytes(chunk[4 : 4 + width], order))
        file.seek(min(at, size))
        behind = file.read(2**20)
    if size - at > BEHIND and behind.strip(b"\0") and not behind.startswith(TAGS):
        told = f"{size - at} bytes lie behind the {promised} bytes of samples that its header counts"
        raise ValueError(f"{told}; write it again from its source, or cut them off")


def _check_sizes(form: bytes, order: str) -> None:
    """ValueError for PCM whose bytes in a frame and a second agree on another width than its bits do."""
    if order != "little" or len(form) < 16:
        return
    kind, channels, rate, second, align, bits = struct.unpack("<HHIIHH", form)
    if kind in (1, 3) and second == rate * align and align not in (0, channels * -(-bits // 8)):
        told = f"its header says {channels} channel(s) of {bits} bits, but {align} bytes for all of them"
        raise ValueError(f"{told}; write it again from its source")


def flac_goes_on(path: Path, samples: int) -> bool:
    """Return True if the last frame of a FLAC file begins behind the `samples` that its header counts."""
    with open(path, "rb") as file:
        block = int.from_bytes(file.read(12)[10:], "big")
        file.seek(max(0, path.stat().st_size - 2**17))
        tail = file.read()
    latest = 0
    for found in _FLAC_FRAME.finditer(tail):
        number = found[3]
        width = {6: 1, 7: 2}.get(found[2][0] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(found[2][0] & 15, 0)
        header = tail[found.start() : found.end() + width + 1]
        if not _crc8(header):
            first = number[0] & 0x7F if len(number) == 1 else number[0] & (0x7F >> len(number))
            for byte in number[1:]:
                first = first << 6 | byte & 0x3F
            latest = max(latest, first * (block if found[1] == b"\xf8" else 1))
    return latest >= samples


def _crc8(header: bytes) -> int:
    """The remainder of a FLAC frame's header with its checksum: 0 if it is one."""
    rest = 0
    for byte in header:
        rest ^= byte
        for _ in range(8):
            rest = (rest << 1 ^ 7 * (rest >> 7)) & 255
    return rest


def is_unknown(size: int) -> bool:
    """Return True if a number of bytes stands for "unknown": a bit less or more than 2^31 or 2^32, or -1."""
    return 0x7F000000 <= size <= 0x80000100 or 0xFF000000 <= size <= 2**32 + 256 or size >= 2**62
