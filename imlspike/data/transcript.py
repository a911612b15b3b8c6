"""A transcript of a file, as text and as JSON; as captions: `captions`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Thai, kana, Han
NO_BLANKS = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


@dataclass(frozen=True)
class Word:
    """A word from `start` to `end`, in seconds, and how likely it is right, 0 to 1."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Segment:
    """The text between `start` and `end`, in seconds, and its words, where the decoder tells them."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The content for JSON, times in seconds."""
        about = {"start": round(self.start, 3), "end": round(self.end, 3), "text": self.text}
        words = [{key: round(x, 3) if key != "text" else x for key, x in vars(w).items()} for w in self.words]
        return about | ({"words": words} if words else {})


@dataclass(frozen=True)
class Transcript:
    """The text of one file, and its length in seconds, sampling rate in Hz and channels.

    >>> heard = Transcript("a.wav", (Segment(0, 5, "one two"), Segment(5, 9.5, "three")), 9.5, 16000, 1)
    >>> heard.text, heard.lines()
    ('one two three', 'one two\\nthree\\n')
    """

    file: str  # as it was named
    segments: tuple[Segment, ...] = ()  # in order; a file that wasn't cut is one
    seconds: float = 0.0
    sampling_rate: int = 0
    channels: int = 0
    error: str | None = None  # why it could not be transcribed
    channel: int | None = None  # that this is the text of, from 1; None: of all of them
    notes: tuple[str, ...] = ()  # what was done to the sound, or found in the file
    name: str | None = None  # that tells it from others in one CTM; None: its file's, without the suffix

    @property
    def text(self) -> str:
        """The text of all segments."""
        return join_texts(segment.text for segment in self.segments)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments, in order, none of which begins before the one before it ends."""
        return tuple(word for segment in self.segments for word in segment.words)

    def lines(self) -> str:
        """The text, one line a segment; segments in which nothing is said have none."""
        return "".join(f"{segment.text}\n" for segment in self.segments if segment.text)

    def as_dict(self) -> dict[str, Any]:
        """The content for JSON, times in seconds.

        >>> Transcript("a.wav", (Segment(0, 1.23456, "one"),), 1.23456, 16000, 1).as_dict()["segments"]
        [{'start': 0, 'end': 1.235, 'text': 'one'}]
        """
        more = {"channel": self.channel, "notes": list(self.notes)}
        return {
            "file": self.file,
            "duration": round(self.seconds, 3),
            "sampling_rate": self.sampling_rate,
            "channels": self.channels,
            "text": self.text,
            "segments": [part.as_dict() for part in self.segments],
        } | {key: value for key, value in more.items() if value}


def join_texts(texts: Iterable[str]) -> str:
    """Join the texts of a recording's pieces, with a blank between them where their script has blanks.

    >>> join_texts(["one two", "", "three"]), join_texts(["你好", "世界"])
    ('one two three', '你好世界')
    """
    joined = ""
    for text in filter(None, texts):
        glued = not joined or (NO_BLANKS.match(joined[-1]) and NO_BLANKS.match(text[0]))
        joined += text if glued else f" {text}"
    return joined
