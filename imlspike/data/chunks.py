"""Chunks of WAV, RF64, AIFF, CAF and AU files: whether the length that a header tells is that of the file."""

import re
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
            name = b""
            while at + 4 + width <= size and name != sound:
                file.seek(at)
                name, promised = file.read(4), int.from_bytes(file.read(width), order)
                if name == b"ds64":
                    long = int.from_bytes(file.read(16)[8:], order)
                at += 4 + width + (0 if name == sound else promised + promised % 2)
            if name != sound:
                if head[8:] == b"AVI " and size < int.from_bytes(head[4:8], "little") < 0x7F000000:
                    raise ValueError(
                        "truncated, its header promises more bytes than there are; copy it again"
                    )
                return  # no sound: libsndfile says so
            promised = long if long is not None and promised == 2**32 - 1 else promised
        lacking = at + promised - size
        if (promised == 0 and lacking < 0) or (lacking > 0 and _is_unknown(promised)):
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


def _is_unknown(size: int) -> bool:
    """Return True if a number of bytes stands for "unknown": a bit less or more than 2^31 or 2^32, or -1."""
    return 0x7F000000 <= size <= 0x80000100 or 0xFF000000 <= size <= 2**32 + 256 or size >= 2**62
