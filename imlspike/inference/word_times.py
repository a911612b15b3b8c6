"""Times and confidences of words: a text aligned with CTC's log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from math import exp
from typing import Protocol
from unicodedata import category

import numpy as np

from imlspike.data.keys import check_number
from imlspike.data.transcript import NO_BLANKS, Word
from imlspike.text.tokens import BLANK_MARK, SPACE


@dataclass(frozen=True)
class WordTimes:
    """How CTC's spikes are read as words; `word_times` of a bundle, measured by `benchmarks word_times`.

    Args:
        start, end: seconds from the beginning of a word's first spike (-1 to 0), and from the end of its last
            one (0 to 1), to those of the word; between words that are nearer, the middle.
        confidence: exponent that makes of the product of probabilities, of a word's tokens and of the blanks
            beside it, how often such words are right; 0.01 to 100.
    """

    start: float = 0.0
    end: float = 0.0
    confidence: float = 1.0

    def __post_init__(self):
        check_number("start", self.start, -1, 0)
        check_number("end", self.end, 0, 1)
        check_number("confidence", self.confidence, 0.01, 100)


UNSHIFTED = WordTimes()


class Tokens(Protocol):
    """A model's tokens, as far as words need them; see `imlspike.inference.recognizer.Tokens`."""

    names: Sequence[str]
    kind: str  # char, bpe or word
    blank: int
    eos: int

    def text(self, numbers: Sequence[int]) -> str: ...


def find_words(
    log_probs: np.ndarray,
    numbers: Sequence[int],
    tokens: Tokens,
    seconds: float,
    word_times: WordTimes = UNSHIFTED,
) -> tuple[Word, ...]:
    """The words of an utterance, by CTC forced alignment (Viterbi).

    Args:
        log_probs: (N, V) fp32, of an utterance's N frames, all of one length.
        numbers: its tokens, blanks between them or not.
        tokens: what they stand for.
        seconds: length of the utterance.

    Returns:
        Words in order of time, within 0 and `seconds`, none beginning before the one before it ends. Of more
        tokens than fit into the frames, which only a search gives, times are spread evenly and confidences 0.
    """
    spoken = [number for number in numbers if number not in (tokens.blank, tokens.eos)]
    words, frames = _group(spoken, tokens), len(log_probs)
    if not words:
        return ()
    if len(spoken) + sum(one == other for one, other in pairwise(spoken)) > frames:
        ends = list(accumulate(len(places) for places in words))
        spans = [(end - len(places), end, 0.0) for end, places in zip(ends, words, strict=True)]
        frames, shift = ends[-1], UNSHIFTED
    else:
        # The best path of all is the best of its own text, and takes no table of frames times tokens.
        path, scores = log_probs.argmax(-1), log_probs.max(-1)
        path[path == tokens.eos] = tokens.blank  # which no text shows
        if [number for number, _ in groupby(path.tolist()) if number != tokens.blank] != spoken:
            path, scores = _aligned(log_probs, spoken, tokens.blank)
        found, shift = _spikes(path.tolist(), scores.tolist(), tokens.blank), word_times
        spans = []
        blanks = set(range(len(spoken))).difference(*words)  # between words: where a word ends may be wrong
        for places in words:
            around = blanks & {places[0] - 1, places[-1] + 1}
            likely = exp(sum(found[place][2] for place in (*places, *around)) * shift.confidence)
            spans.append((found[places[0]][0], found[places[-1]][1], likely))
    spikes = [(start * seconds / frames, end * seconds / frames) for start, end, _ in spans]
    starts = [max(0.0, start + shift.start) for start, _ in spikes]
    ends = [min(seconds, end + shift.end) for _, end in spikes]
    for place, ((_, before), (after, _)) in enumerate(pairwise(spikes)):
        if ends[place] > starts[place + 1]:
            middle = (ends[place] + starts[place + 1]) / 2
            ends[place] = starts[place + 1] = min(max(middle, before), after)
    texts = [tokens.text([spoken[place] for place in places]) for places in words]
    times = zip(texts, starts, ends, spans, strict=True)
    return tuple(Word(text, start, end, min(1.0, span[2])) for text, start, end, span in times)


def _aligned(log_probs: np.ndarray, spoken: list[int], blank: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and log-probabilities (N,) of the best path of a text that is not the best of all."""
    import torch  # here only: an exported model's text is always the best of all
    from torchaudio.functional import forced_align

    whole = torch.from_numpy(np.ascontiguousarray(log_probs))[None]
    path, scores = forced_align(whole, torch.tensor([spoken]), blank=blank)
    return path[0].numpy(), scores[0].numpy()


def _spikes(path: list[int], scores: list[float], blank: int) -> list[tuple[int, int, float]]:
    """First frame, the one behind the last, and mean log-probability of each token of a path.

    >>> _spikes([0, 3, 3, 0, 3], [0.0, -1.0, -3.0, 0.0, -1.0], 0)
    [(1, 3, -2.0), (4, 5, -1.0)]
    """
    found, start = [], 0
    for number, same in groupby(path):
        end = start + len(list(same))
        if number != blank:
            found.append((start, end, sum(scores[start:end]) / (end - start)))
        start = end
    return found


def _group(spoken: Sequence[int], tokens: Tokens) -> list[list[int]]:
    """Places of the tokens of each word; where a script has no blanks, every token but marks is a word."""
    words: list[list[int]] = []
    begins = True
    for place, number in enumerate(spoken):
        name = tokens.names[number]
        if tokens.kind == "char" and name == SPACE:
            begins = True
            continue
        written = name.removeprefix(BLANK_MARK) if tokens.kind == "bpe" else name
        alone = bool(NO_BLANKS.match(written)) and category(written[0])[0] != "M"
        if begins or alone or written != name:
            words.append([])
        words[-1].append(place)
        begins = alone or tokens.kind == "word"
    return [places for places in words if tokens.text([spoken[place] for place in places])]
