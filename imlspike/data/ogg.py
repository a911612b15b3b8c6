"""Pages of an Ogg file (RFC 3533): what is joined in it, and what it lacks."""

import mmap
import zlib
from pathlib import Path
from typing import NamedTuple

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Ogg(NamedTuple):
    """Numbers of streams that begin in an Ogg file, that lack their end, and of bytes that are no sound page.

    `lost` are damaged bytes, or pages that are missing by their number; `cut` tells that the file ends within
    a page, `backwards` that a page tells an earlier time than the one before it.
    """

    streams: int
    unfinished: int
    lost: int
    cut: bool
    backwards: bool

    @property
    def is_plain(self) -> bool:
        """One whole stream and nothing else."""
        return self == (1, 0, 0, False, False)


def survey_ogg(path: Path) -> Ogg:
    """Look at all pages: each has a number, a checksum and a mark on the last one of its stream."""
    running: dict[bytes, int] = {}
    ends: dict[bytes, int] = {}  # the samples up to a page's end
    at = streams = lost = junk = 0
    backwards = False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        while at < len(content):
            head = content[at : at + 27 + 255]
            table = head[27 : 27 + head[26]] if len(head) > 26 else b""
            page = content[at : at + 27 + len(table) + sum(table)]
            told = int.from_bytes(page[22:26], "little")
            if head[:4] != b"OggS" or _checksum(page[:22] + bytes(4) + page[26:]) != told:
                following = content.find(b"OggS", at + 1)
                following = len(content) if following < 0 else following
                junk += following - at if any(content[at:following]) else 0
                at = following
                continue
            serial, number = page[14:18], int.from_bytes(page[18:22], "little")
            if not junk and number > running.get(serial, number):
                junk = len(page)  # at least one is missing
            streams, lost, junk = streams + bool(page[5] & 2), lost + junk, 0
            if (end := int.from_bytes(page[6:14], "little", signed=True)) >= 0:
                backwards, ends[serial] = backwards or end < ends.get(serial, 0), end
            running[serial] = number + 1
            if page[5] & 4:
                del running[serial]
            at += len(page)
    return Ogg(streams, len(running), lost + junk, bool(running and junk), backwards)


def opus_seconds(path: Path) -> float:
    """The length of the Opus packets in a whole Ogg file by their first bytes (RFC 6716, 3.1); 0 without."""
    at, milliseconds, packet = 0, 0.0, b""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if b"OpusHead" not in content[:300]:
            return 0.0
        while content[at : at + 4] == b"OggS" and at + 27 < len(content):
            begin = at + 27 + content[at + 26]
            for lace in content[at + 27 : begin]:
                packet, begin = packet + content[begin : begin + lace], begin + lace
                if lace == 255:  # it goes on
                    continue
                if packet[:4] != b"Opus" and packet:
                    kind, few = packet[0] >> 3, (1, 2, 2)
                    silk, hybrid, celt = (10, 20, 40, 60)[kind % 4], (10, 20)[kind % 2], 2.5 * 2 ** (kind % 4)
                    frame = silk if kind < 12 else hybrid if kind < 16 else celt
                    milliseconds += frame * (
                        few[packet[0] % 4] if packet[0] % 4 < 3 else int.from_bytes(packet[1:2], "big") % 64
                    )
                packet = b""
            at = begin
    return milliseconds / 1000


def _checksum(page: bytes) -> int:
    """CRC-32 of Ogg, most significant bit first, by zlib's, which has the least significant one first."""
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
