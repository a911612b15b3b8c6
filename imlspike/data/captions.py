"""A transcript with word times as captions (SubRip, WebVTT), CTM and Praat's TextGrid."""

import html
import re
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from textwrap import indent

from imlspike.data.transcript import Transcript, Word, join_texts

LINE, LINES, LONGEST = 42, 2, 7.0  # characters of a line, lines and seconds of a caption
PAUSE = 0.7  # seconds of silence at which a caption ends
SHORTEST = 1.0  # seconds that a caption is shown for, where the next one leaves them


def captions(words: Sequence[Word], seconds: float = float("inf")) -> list[tuple[float, float, list[str]]]:
    """Captions (start, end, lines) of words, in seconds: at most two lines of 42 characters, and 7 s.

    They end at pauses and, of what is too long, near its middle, the rather where a word is followed by some
    silence. A word is never split: a longer one than a line has a line of its own. None begins before the one
    before it ends, nor ends behind the recording, which has so many `seconds`, or its last word.

    >>> spoken = [Word("good", 0.2, 0.5, 0.9), Word("day", 0.6, 0.9, 0.9), Word("Sir", 3.0, 3.3, 0.8)]
    >>> captions(spoken)
    [(0.2, 1.2, ['good day']), (3.0, 4.0, ['Sir'])]
    """
    groups: list[list[Word]] = []
    for word in words:
        if not groups or word.start - groups[-1][-1].end > PAUSE:
            groups.append([])
        groups[-1].append(word)
    shown = [part for group in groups for part in _parts(group)]
    starts = [part[0].start for part in shown[1:]] + [max(seconds, words[-1].end) if words else seconds]
    ends = (max(part[-1].end, part[0].start + SHORTEST) for part in shown)
    return [
        (part[0].start, min(end, start), _lines(part) or [_text(part)])
        for part, end, start in zip(shown, ends, starts, strict=False)
    ]


def _parts(words: list[Word]) -> list[list[Word]]:
    """Words as captions of them."""
    if len(words) == 1 or (words[-1].end - words[0].start <= LONGEST and _lines(words)):
        return [words]
    sizes = [0, *accumulate(len(word.text) + 1 for word in words)]

    def cost(cut: int) -> float:
        silence = (words[cut].start - words[cut - 1].end) / PAUSE
        return abs(2 * sizes[cut] / sizes[-1] - 1) - silence

    cut = min(range(1, len(words)), key=cost)
    return _parts(words[:cut]) + _parts(words[cut:])


def _lines(words: list[Word]) -> list[str] | None:
    """Words in one line or in two of about equal lengths; None where they don't fit."""
    if len(text := _text(words)) <= LINE:
        return [text]
    if len(text) > LINES * LINE + 1:
        return None
    halves = [[_text(words[:cut]), _text(words[cut:])] for cut in range(1, len(words))]
    best = min(halves, key=lambda lines: max(map(len, lines)), default=[text])
    return best if max(map(len, best)) <= LINE else None


def _text(words: Sequence[Word]) -> str:
    return join_texts(word.text for word in words)


def srt(heard: Transcript) -> str:
    """SubRip.

    >>> from imlspike.data.transcript import Segment
    >>> print(srt(Transcript("a.wav", (Segment(0, 2, "yes", (Word("yes", 0.5, 1.75, 0.9),)),), 2.0)), end="")
    1
    00:00:00,500 --> 00:00:01,750
    yes
    <BLANKLINE>
    """
    return "".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n" + "\n".join(lines) + "\n\n"
        for number, (start, end, lines) in enumerate(captions(heard.words, heard.seconds), 1)
    )


def vtt(heard: Transcript) -> str:
    """WebVTT."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n" + html.escape("\n".join(lines), quote=False) + "\n\n"
        for start, end, lines in captions(heard.words, heard.seconds)
    )


def ctm(heard: Transcript) -> str:
    """NIST's CTM, as sclite reads it: recording (its name), channel, start, duration, word, confidence.

    Blanks in a name, which would be another column, are written _.
    """
    of_all = heard.name or Path(heard.file).stem, heard.channel or 1
    columns = (
        (*of_all, f"{word.start:.3f}", f"{word.end - word.start:.3f}", word.text, f"{word.confidence:.3f}")
        for word in heard.words
    )
    return "".join(" ".join(re.sub(r"\s", "_", str(x)) for x in row) + "\n" for row in columns)


def textgrid(heard: Transcript) -> str:
    """Praat's TextGrid, long form, with one tier `words`; silence between them is empty."""
    intervals, at, end = [], 0, max(1, round(heard.seconds * 1000))  # in whole ms; Praat wants one
    for word in heard.words:
        start = max(at, round(word.start * 1000))
        stop = max(start + 1, round(word.end * 1000))  # Praat wants none of length 0
        intervals += [(at, start, "")] if start > at else []
        intervals.append((start, stop, word.text.replace('"', '""')))
        at = stop
    intervals += [(at, end, "")] if end > at else []
    length = f"xmin = 0\nxmax = {max(at, end) / 1000}\n"
    rows = [f'class = "IntervalTier"\nname = "words"\n{length}intervals: size = {len(intervals)}\n']
    for number, (start, stop, text) in enumerate(intervals, 1):
        times = f"    xmin = {start / 1000}\n    xmax = {stop / 1000}\n"
        rows.append(f'intervals [{number}]:\n{times}    text = "{text}"\n')
    head = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\n{length}tiers? <exists>\nsize = 1\n'
    return f"{head}item []:\n    item [1]:\n" + indent("".join(rows), " " * 8)


def _clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and milliseconds."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"


FORMATS = {"srt": srt, "vtt": vtt, "ctm": ctm, "textgrid": textgrid}


def write_format(heard: Transcript, kind: str) -> str:
    """A transcript in one of `FORMATS`; ValueError where its words have no times."""
    if heard.text and not heard.words:
        raise ValueError(f"{kind} needs the times of words, which this model or way of decoding doesn't tell")
    return FORMATS[kind](heard)
