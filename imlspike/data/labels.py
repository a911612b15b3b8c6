"""Phone labels of a corpus (Festival's .lab, Praat's TextGrid), and the frames that they give each symbol."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

from imlspike.data.files import read_kaldi, read_text
from imlspike.text.punctuation import PUNCTUATION

PAUSE = "pau"
# What aligners call a pause (MFA: nothing, sil, sp; Festival: pau; Baker: sil, sp1), in small letters; and
# the blank between words in texts of characters.
PAUSES = {"", PAUSE, "sil", "sp", "sp1", "silence", "<eps>", "#", "h#", "<space>"}
AGREE = 0.25  # seconds by which labels and recording may end apart
TIER = "phones"
_PRAAT = (".textgrid", ".interval")
SUFFIXES = (".lab", *_PRAAT)
_FESTIVAL = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s+\S+\s+(\S+)\s*")


class Phone(NamedTuple):
    """A phone of an utterance from `start` to `end`, in seconds."""

    name: str
    start: float
    end: float


def is_pause(symbol: str) -> bool:
    """Return whether a symbol or a label is a pause: a name of silence, or punctuation."""
    return symbol.lower() in PAUSES or symbol in PUNCTUATION


def find_labels(folder: str | os.PathLike) -> dict[str, Path]:
    """Label files in and below a folder, by utterance; ValueError if there is none, or two for one."""
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix.lower() in SUFFIXES and found.setdefault(path.stem, path) != path:
            raise ValueError(f"{found[path.stem]} and {path}: two label files for one utterance")
    if not found:
        there = "no label files" if Path(folder).is_dir() else "no such folder"
        raise ValueError(f"{folder}: {there}; expected files {', '.join(SUFFIXES)}")
    return found


def check_labelled(names: Sequence[str], labels: Mapping[str, Path], folder: str | os.PathLike) -> None:
    """Raise ValueError for a set with utterances that have no label file, naming the first."""
    if absent := [name for name in names if name not in labels]:
        found = f"no labels for {absent[0]} ({len(absent)} of {len(names)} utterances)"
        raise ValueError(f"{folder}: {found}; leave these out of the data, or name another folder")


def read_labels(path: str | os.PathLike, tier: str = TIER, seconds: float | None = None) -> list[Phone]:
    """Phones with their times from a label file, in order and without gaps.

    Args:
        path: Festival's `.lab` (lines `end-time number phone` below a line `#`), or a TextGrid (`.TextGrid`,
            `.interval`), long or short. An interval without a text is `pau`.
        tier: of a TextGrid with several: the one of this name (small or capital letters), or else the only
            one whose name ends in it, as MFA names the tiers of a speaker.
        seconds: of its recording, to compare with.

    Raises:
        ValueError: naming the file (and line), for another form, a time that runs back, a tier that isn't
            there, no phones, or an end over 0.25 s from the recording's; without praatio (extra phonemes).
    """
    path = Path(path)
    phones = _read_textgrid(path, tier) if path.suffix.lower() in _PRAAT else _read_festival(path)
    if seconds is not None and abs(phones[-1].end - seconds) > AGREE:
        found = f"ends at {phones[-1].end:.3f} s, but its recording has {seconds:.3f} s"
        raise ValueError(f"{path}: {found}; was it made for another one?")
    return phones


def _read_festival(path: Path) -> list[Phone]:
    phones, start = [], 0.0
    lines = read_text(path).split("\n")
    header = next((number for number, line in enumerate(lines, 1) if line.strip() == "#"), 0)
    for number, line in enumerate(lines[header:], header + 1):
        if not line.strip():
            continue
        match = _FESTIVAL.fullmatch(line)
        if not match or float(match[1]) < start:
            expected = "'end-time number phone', times ascending"
            raise ValueError(f"{path}, line {number}: {line.strip()!r}; expected {expected}")
        phones.append(Phone(match[2], start, float(match[1])))
        start = phones[-1].end
    if not phones:
        raise ValueError(f"{path}: no phones; expected lines 'end-time number phone' below a line '#'")
    return phones


def _read_textgrid(path: Path, tier: str) -> list[Phone]:
    try:
        from praatio import textgrid
        from praatio.utilities.errors import PraatioException
    except ImportError:
        raise ValueError(f"{path}: a TextGrid is read by praatio; pip install 'imlspike[phonemes]'") from None
    try:
        grid = textgrid.openTextgrid(os.fspath(path), includeEmptyIntervals=True, duplicateNamesMode="rename")
    except (PraatioException, ValueError, LookupError) as error:
        raise ValueError(f"{path}: not a TextGrid ({error}); save it by Praat or MFA again") from None
    tiers = {each.name: each for each in grid.tiers if isinstance(each, textgrid.IntervalTier)}
    named = [name for name in tiers if name.lower() == tier.lower()]
    named = named or [name for name in tiers if name.lower().endswith(tier.lower())]
    if len(tiers) == 1:
        named = list(tiers)
    if len(named) != 1:
        there = ", ".join(map(repr, tiers)) or "none"
        raise ValueError(f"{path}: no single tier of intervals {tier!r}; name one (--tier), there is {there}")
    phones = [Phone(label.strip() or PAUSE, start, end) for start, end, label in tiers[named[0]].entries]
    if not phones or phones[-1].end < grid.maxTimestamp - 1e-3:  # praatio reads a file that was cut as it is
        raise ValueError(f"{path}: tier {named[0]!r} ends before {grid.maxTimestamp:.3f} s; save it again")
    return phones


def punctuated(phones: Sequence[Phone]) -> list[str]:
    """The labels' phones as a front end would write them: their pauses are marks.

    A comma stands for a pause, or several in a row, and a full stop for the end, pause or not; what comes
    before the first phone isn't written. `symbol_ends` has their times. ValueError if there are only pauses.

    >>> phones = [Phone("pau", 0, 0.3), Phone("a", 0.3, 0.5), Phone("pau", 0.5, 0.6), Phone("b", 0.6, 0.7)]
    >>> punctuated(phones)
    ['a', ',', 'b', '.']
    """
    symbols: list[str] = []
    for phone in phones:
        if not is_pause(phone.name):
            symbols.append(phone.name)
        elif symbols and symbols[-1] != ",":
            symbols.append(",")
    if not symbols:
        raise ValueError("the labels hold nothing but pauses; leave the utterance out")
    return [*(symbols[:-1] if symbols[-1] == "," else symbols), "."]


def symbol_ends(symbols: Sequence[str], phones: Sequence[Phone], name: str = "text") -> list[float]:
    """The time in seconds when each symbol of an utterance ends, by its labels.

    Symbols and labels must hold the same phones, else ValueError, apart from pauses: punctuation gets the
    pause that is there, the first mark all of it; a pause without a mark belongs to the phone before it (at
    the beginning: behind it). With the labels' own phones as symbols, these are their ends.

    >>> phones = [Phone("pau", 0, 0.3), Phone("a", 0.3, 0.5), Phone("pau", 0.5, 0.6), Phone("b", 0.6, 0.7)]
    >>> symbol_ends(["a", ",", "b", "."], phones)
    [0.5, 0.6, 0.7, 0.7]
    >>> symbol_ends(["a", "c"], phones, "ru_1")
    Traceback (most recent call last):
    ValueError: ru_1: symbol 'c' (phone 2) stands where the labels have 'b' at 0.6 s; ...
    """
    if list(symbols) == [phone.name for phone in phones]:
        return [phone.end for phone in phones]
    spoken = [phone for phone in phones if not is_pause(phone.name)]
    said = [symbol for symbol in symbols if not is_pause(symbol)]
    hint = "take the labels' phones for symbols (--symbols-dir)"
    for place, (symbol, phone) in enumerate(zip(said, spoken, strict=False), 1):
        if symbol != phone.name:
            found = f"symbol {symbol!r} (phone {place}) stands where the labels have {phone.name!r}"
            raise ValueError(f"{name}: {found} at {phone.start} s; {hint}")
    if len(said) != len(spoken):
        found = f"{len(said)} phones in the text, {len(spoken)} in the labels"
        raise ValueError(f"{name}: {found}; {hint}")
    starts = [phone.start for phone in spoken] + [phones[-1].end]
    ends: list[float] = []
    count = 0
    for place, symbol in enumerate(symbols):
        count += not is_pause(symbol)
        marked = not is_pause(symbol) and any(map(is_pause, symbols[place + 1 : place + 2]))
        ends.append(spoken[count - 1].end if marked else starts[count])
    return ends


def frames_until(ends: Sequence[float], frames: int, frame_seconds: float, name: str = "text") -> list[int]:
    """Frames of each symbol from the times when they end (seconds, ascending); `frames` in sum.

    Frame l is centered on l * frame_seconds (hop length / sampling rate, `imlspike.layers.LogMel`) and
    belongs to the symbol that is spoken then; the last symbol gets what is left. A symbol that no frame falls
    on takes one from its neighbors; ValueError for fewer frames than symbols.

    >>> frames_until([0.031, 0.05, 0.051, 0.1], 8, 0.016)
    [2, 2, 1, 3]
    """
    if frames < len(ends):
        raise ValueError(f"{name}: {len(ends)} symbols for {frames} frames; leave the utterance out")
    until = [0]
    for left, end in zip(range(len(ends) - 1, -1, -1), ends, strict=True):  # symbols that still need a frame
        until.append(max(until[-1] + 1, min(math.ceil(end / frame_seconds - 1e-6), frames - left)))
    until[-1] = frames
    return [end - start for start, end in pairwise(until)]


def boundary_times(durations: Sequence[int], frame_seconds: float) -> list[float]:
    """The time in seconds when each symbol but the last ends: `frames_until` back, to half a frame.

    >>> boundary_times([2, 2, 4], 0.016)
    [0.024, 0.056]
    """
    return [round((end - 0.5) * frame_seconds, 9) for end in accumulate(durations[:-1])]


def read_durations(path: str | os.PathLike) -> dict[str, list[int]]:
    """Read frames of each symbol, utterance by utterance; ValueError for anything but whole numbers."""
    table = {}
    for name, line in read_kaldi(path).items():
        if not re.fullmatch(r"\d+( \d+)*", line):
            raise ValueError(f"{os.fspath(path)}: {name}: {line[:60]!r}; expected frames as whole numbers")
        table[name] = [int(word) for word in line.split()]
    return table
