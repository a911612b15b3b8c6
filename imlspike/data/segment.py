"""Long recordings cut at pauses, in one pass that holds half a minute of audio."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from imlspike.data.keys import MOST_SECONDS, check_number

FRAME = 0.02  # seconds over which a level is measured: two periods of a low voice
PAUSE = 0.3  # seconds that speech has to pause for
QUIET = 0.25  # how far up from the recording's low level (0) to its high level (1), in dB, is still a pause
DIP = 0.1  # seconds over which the quietest place is sought where there is no pause
SHORTEST = 5  # no piece is shorter than the longest allowed / SHORTEST, unless the recording is


@dataclass(frozen=True)
class Piece:
    """A part of a recording: its samples (n,), and which sample of the recording is the first of them."""

    start: int
    samples: np.ndarray


def cut_at_pauses(
    blocks: Iterable[np.ndarray], sampling_rate: int = 16000, max_seconds: float = 25.0
) -> Iterator[Piece]:
    """Cut a recording that comes in blocks into pieces of at most `max_seconds`.

    A recording no longer than that stays whole. Of a longer one, a piece ends in the middle of the longest
    pause between `max_seconds / 5` and `max_seconds` after its beginning (of equal ones, the last). A pause
    is 0.3 s in which no frame of 20 ms is louder than a quarter of the way, in dB, from the low level (5 % of
    the frames are below) to the high one (95 %) of what can be heard from there. Where there is none, the
    piece ends at the quietest tenth of a second. Joined, the pieces are the recording, however it came.

    Blocks are arrays `(samples,)` of any lengths; never more than 1.2 * `max_seconds` and one block are held.
    ValueError for a `max_seconds` below 1 s or a `sampling_rate` below 500 Hz.

    >>> beep = np.sin(np.arange(16000))
    >>> recording = np.concatenate([beep, np.zeros(8000), beep])  # 2.5 s with half a second of silence
    >>> [(piece.start, len(piece.samples)) for piece in cut_at_pauses([recording], max_seconds=2)]
    [(0, 20000), (20000, 20000)]
    """
    check_number("max_seconds", max_seconds, 1, MOST_SECONDS)
    check_number("sampling_rate", sampling_rate, 500, float("inf"))
    longest = int(max_seconds * sampling_rate)
    shortest = longest // SHORTEST
    enough = longest + shortest  # after any cut, enough for a piece is left
    start, held, parts = 0, 0, [np.zeros(0, dtype=np.float32)]
    for block in blocks:
        parts.append(block)
        held += len(block)
        if held < enough:
            continue
        samples = np.concatenate(parts)
        while len(samples) >= enough:
            cut = _best_cut(samples[:enough], shortest, longest, sampling_rate)
            yield Piece(start, samples[:cut].copy())  # a view would keep all that is held
            start, samples = start + cut, samples[cut:]
        held, parts = len(samples), [samples.copy()]
    samples = np.concatenate(parts)
    if held > longest:
        cut = _best_cut(samples, shortest, min(longest, held - shortest), sampling_rate)
        yield Piece(start, samples[:cut].copy())
        start, samples = start + cut, samples[cut:]
    if len(samples):
        yield Piece(start, samples.copy())


def _best_cut(samples: np.ndarray, first: int, last: int, sampling_rate: int) -> int:
    """The sample of `first` to `last` at which to cut: in the longest pause, or where it is quietest."""
    frame = int(FRAME * sampling_rate)
    whole = len(samples) // frame * frame
    power = samples[:whole].reshape(-1, frame).var(axis=1, dtype=np.float64)  # an offset is no sound
    level = 10 * np.log10(power + 1e-9)
    low, high = np.percentile(level, [5, 95])
    begin = -(-first // frame)
    level = level[begin : last // frame]
    quiet = level <= low + QUIET * (high - low)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    lengths = ends - starts
    if len(lengths) and lengths.max() >= round(PAUSE / FRAME):
        which = np.flatnonzero(lengths == lengths.max())[-1]
        middle = (starts[which] + ends[which]) / 2
    else:
        dip = round(DIP / FRAME)
        around = np.convolve(level, np.ones(dip), mode="valid")
        middle = np.flatnonzero(around == around.min())[-1] + dip / 2
    return int((begin + middle) * frame)


def batches(seconds: dict[str, float], limit: float) -> Iterator[list[str]]:
    """Group utterances, longest first, so that count x longest stays within `limit` (one may exceed it).

    >>> list(batches({"a": 1, "b": 5, "c": 4, "d": 2}, 10))
    [['b', 'c'], ['d', 'a']]
    """
    batch: list[str] = []
    for utterance in sorted(seconds, key=lambda u: (-seconds[u], u)):
        if batch and (len(batch) + 1) * seconds[batch[0]] > limit:
            yield batch
            batch = []
        batch.append(utterance)
    if batch:
        yield batch
