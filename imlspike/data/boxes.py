"""Files that are a chain of boxes, each with its size (MP4, Matroska, ASF, ...): where the chain ends."""

import mmap
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from imlspike.data.chunks import TAGS, is_unknown

JOINED = "holds several recordings, joined; only the first can be read: split it"
# Of Matroska: segment and cluster, which a stream has without a size (what is in them follows); all others.
_OPEN = "18538067 1f43b675"
_ELEMENTS = f"{_OPEN} 1a45dfa3 114d9b74 1549a966 1654ae6b 1c53bb6b 1941a469 1043a770 1254c367"
_ELEMENTS += " ec bf e7 a3 a0 a7 ab 5854"
_OF_ASF = "3026b275 3626b275 90080033 d329e2d6 feb103f8 d03fb73c"  # how its GUIDs begin
SLACK = 16  # bytes that a size may be too great by: RealMedia's is, as ffmpeg writes it
Box = tuple[bytes, int | None]  # name; size with its header, None: unknown


class _Form(NamedTuple):
    """How a file begins, how its boxes do; a box's name and size; the first box; how a joined file begins."""

    magic: bytes
    names: bytes
    box: Callable[[bytes], Box]
    first: int = 0
    again: bytes | None = None


def _sized(at: int, width: int, order: str, more: int = 0) -> Callable[[bytes], Box]:
    """Boxes whose size, less `more`, stands `at` a place in `width` bytes."""

    def box(head: bytes) -> Box:
        size = int.from_bytes(head[at : at + width], order)
        unknown = is_unknown(size) or size + more == 0
        return head[:16], None if unknown else size + more

    return box


def _mp4(head: bytes) -> Box:
    size = int.from_bytes(head[:4], "big")
    return head[4:8], int.from_bytes(head[8:16], "big") if size == 1 else size or None


def _matroska(head: bytes) -> Box:
    width = 9 - head[0].bit_length()
    long = 9 - head[width].bit_length()
    size, most = int.from_bytes(head[width : width + long], "big"), (1 << 7 * long) - 1
    if size & most == most:
        return head[:width], width + long if head[:width].hex() in _OPEN.split() else None
    return head[:width], width + long + (size & most)


def _sox(head: bytes) -> Box:
    samples = int.from_bytes(head[8:16], "little")
    return head[:4], 4 * (1 + samples) + int.from_bytes(head[4:8], "little") if samples else None


def _voc(head: bytes) -> Box:
    return head[:1], 4 + int.from_bytes(head[1:4], "little") if head[0] else 1


def _program_stream(head: bytes) -> Box:
    """Of MPEG-1 and MPEG-2: a pack's header, the mark of the end, or a packet."""
    pack = 14 + head[13] % 8 if head[4:5] >= b"\x40" else 12
    return head[:4], {0xBA: pack, 0xB9: 4}.get(head[3], 6 + int.from_bytes(head[4:6], "big"))


def _any_of(names: str) -> bytes:
    return b"|".join(re.escape(bytes.fromhex(name)) for name in names.split())


_FORMS = (
    _Form(rb".{4}(?:ftyp|moov|mdat|wide|free|skip|pnot)", rb"[\w ]{4}", _mp4, again=rb".{4}ftyp"),
    _Form(_any_of("1a45dfa3"), _any_of(_ELEMENTS), _matroska),
    _Form(_any_of("3026b275"), _any_of(_OF_ASF), _sized(16, 8, "little")),
    _Form(rb"riff\x2e\x91", rb"riff", _sized(16, 8, "little")),  # Wave64
    _Form(rb"\.RMF", rb"\.RMF|PROP|MDPR|CONT|DATA|INDX|RMMD|RJMD|RMJE", _sized(4, 4, "big")),
    _Form(rb"MMMD", rb"MMMD", _sized(4, 4, "big", 8)),
    _Form(rb"FLV\x01", rb"[\x08\x09\x12]", _sized(1, 3, "big", 15), 13),
    _Form(rb"\.SoX", rb"\.SoX", _sox),
    _Form(rb"\x01\0.{4}\0\0", rb"\x01\0", _sized(2, 2, "big", 8)),  # of Lego Mindstorms (.rso)
    _Form(rb"\0\0\x01\xba", rb"\0\0\x01[\xb9-\xff]", _program_stream, again=rb"(?!)"),
    _Form(rb"Creative Voice File\x1a", rb"[\0-\x09]", _voc, 26),
)


def check_boxes(path: Path) -> int:
    """The bytes behind the boxes of a file, which nobody reads; 0 of other kinds. Zeros and tags don't count.

    Raises:
        ValueError: for a file that ends within a box, or where another one is joined to it.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        size, head = len(content), content[:32]
        form = next((form for form in _FORMS if re.match(form.magic, head, re.DOTALL)), None)
        if form is None:
            return 0
        at = form.first
        while at < size:
            head = content[at : at + 32].ljust(32, b"\0")
            if at and re.match(form.again or form.magic, head, re.DOTALL):
                raise ValueError(JOINED)
            name, length = form.box(head)
            if not re.match(form.names, name, re.DOTALL) or head.startswith(TAGS):
                return unread(content, at)
            if length is None:
                return 0
            if (lacking := at + length - size) > SLACK:
                raise ValueError(f"truncated, a size in it promises {lacking} more bytes; copy it again")
            at += max(1, length)
    return 0


def unread(content: mmap.mmap | bytes, at: int) -> int:
    """The bytes from a place on, less zeros and tags (ID3, APE) that begin there."""
    while True:
        head = content[at : at + 32]
        if head.startswith(b"TAG"):
            at += 128
        elif head.startswith(b"APETAGEX"):
            at += 32 + int.from_bytes(head[12:16], "little")
        elif head.startswith(b"ID3"):
            at += 10 + sum(byte << 7 * (3 - place) for place, byte in enumerate(head[6:10]))
        elif head and not head.strip(b"\0"):
            at += len(head)
        else:
            return 0 if head.startswith(TAGS) else max(0, len(content) - at)
