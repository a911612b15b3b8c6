"""An n-gram language model of a recognizer's tokens, as a scorer of the beam search."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

DISCOUNT = 0.75
REMEMBERED = 10_000_000  # probabilities that a model keeps, 40 MB


class NGramLanguageModel(nn.Module):
    r"""Kneser-Ney with one discount D, interpolated over all orders (Ney, Essen and Kneser 1994).

    .. math:: p(w | h) = \frac{\max(c(hw) - D, 0)}{c(h)} + \frac{D\, N(h)}{c(h)}\, p(w | h')

    h' is h without its oldest token, N(h) how many different tokens follow h, and c counts occurrences in the
    highest order, below it different tokens before hw. The lowest order goes on to 1 / V. An unknown h has
    the probabilities of h'.

    Args:
        vocab_size: V, tokens; the last one is <sos/eos>, which stands before each text and ends it.
        order: n, tokens of an n-gram, the predicted one counted.
        ngrams: how many different n-grams the buffers hold.
        discount: D, in (0, 1).

    Buffers: `ngrams` (M, n) int32, each once, oldest token first, and `counts` (M,) int32.

    Raises:
        ValueError: an order below 1, or a discount outside (0, 1).

    >>> lm = NGramLanguageModel.fit([[0, 1], [0, 1, 1]], vocab_size=3, order=2)
    >>> round(lm.log_probs((0,)).exp()[1].item(), 4), round(lm.log_probs((0,)).exp().sum().item(), 4)
    (0.8125, 1.0)
    """

    def __init__(self, vocab_size: int, order: int = 5, ngrams: int = 0, discount: float = DISCOUNT):
        super().__init__()
        if order < 1 or not 0 < discount < 1:
            raise ValueError(f"order must be at least 1 and discount in (0, 1), got {order} and {discount}")
        self.size, self.order, self.discount = vocab_size, order, discount
        self.register_buffer("ngrams", torch.zeros(ngrams, order, dtype=torch.int32))
        self.register_buffer("counts", torch.zeros(ngrams, dtype=torch.int32))
        self._followers: list[tuple[np.ndarray, ...]] = []
        self._rows: dict[tuple[int, ...], Tensor] = {}

    @classmethod
    def fit(
        cls, texts: Iterable[Sequence[int]], vocab_size: int, order: int = 5, discount: float = DISCOUNT
    ) -> "NGramLanguageModel":
        """The model of token sequences without <sos/eos>; ValueError if there are none."""
        end, seen = vocab_size - 1, Counter()
        for text in texts:
            padded = [end] * (order - 1) + list(text) + [end]
            seen.update(tuple(padded[i : i + order]) for i in range(len(padded) - order + 1))
        if not seen:
            raise ValueError("an n-gram language model needs at least one text")
        model = cls(vocab_size, order, len(seen), discount)
        model.ngrams = torch.tensor(list(seen), dtype=torch.int32)
        model.counts = torch.tensor(list(seen.values()), dtype=torch.int32)
        return model.eval()

    def log_probs(self, history: tuple[int, ...]) -> Tensor:
        """Log probabilities (V,) in fp32 of the token after `history`, whose last n - 1 tokens count.

        ValueError for buffers that no text leaves: without n-grams, one twice, other tokens, counts below 1.
        """
        history = history[max(0, len(history) - self.order + 1) :] if self.order > 1 else ()
        row = self._rows.get(history)
        if row is None:
            row = self._probabilities(history).log().float()
            if len(self._rows) * self.size >= REMEMBERED:
                self._rows = {}  # a new one: other threads may be reading
            self._rows[history] = row
        return row

    def _probabilities(self, history: tuple[int, ...]) -> Tensor:
        """(V,) fp64"""
        if not self._followers:
            self._count()
        p, node = np.full(self.size, 1 / self.size), 0
        for length, (keys, starts, tokens, counts) in enumerate(self._followers):
            if length:
                if length > len(history) or not 0 <= history[-length] < self.size:
                    break
                key = node * self.size + history[-length]
                node = int(np.searchsorted(keys, key))
                if node == len(keys) or keys[node] != key:
                    break  # then no longer one is known either
            own = slice(starts[node], starts[node + 1])
            total = counts[own].sum()
            p *= self.discount * len(counts[own]) / total
            p[tokens[own]] += (counts[own] - self.discount) / total
        return torch.from_numpy(p)

    def _count(self) -> None:
        """Count the followers of each history, by length; ValueError as of `log_probs`.

        Of each length: the sorted keys of its histories, which are numbered in this order (the key of h is
        V times the number of h' plus the oldest token of h), where the followers of each begin, the followers
        and their counts.
        """
        ngrams, counts = self.ngrams.cpu().numpy().astype(np.int64), self.counts.cpu().numpy()
        size = self.size
        if not ((ngrams >= 0) & (ngrams < size)).all() or not (counts > 0).all():
            raise ValueError(f"an n-gram model of {size} tokens holds others, or counts below 1")
        if not len(ngrams):
            raise ValueError("an n-gram model holds no n-grams")
        keys, nodes = [np.zeros(1, np.int64)], [np.zeros(len(ngrams), np.int64)]
        for oldest in reversed(range(self.order - 1)):
            sorted_, numbers = np.unique(nodes[-1] * size + ngrams[:, oldest], return_inverse=True)
            keys.append(sorted_)
            nodes.append(numbers)
        followers, last = [], ngrams[:, -1]
        rows = np.arange(len(ngrams))  # one for each different n-gram of this length and the one before it
        for length in reversed(range(self.order)):
            pairs = nodes[length][rows] * size + last[rows]
            sorted_, first, times = np.unique(pairs, return_index=True, return_counts=True)
            if length == self.order - 1:
                if len(sorted_) < len(ngrams):
                    raise ValueError("an n-gram model holds an n-gram twice")
                times = counts[first]
            starts = np.searchsorted(sorted_, np.arange(len(keys[length]) + 1) * size)
            followers.insert(0, (keys[length], starts, sorted_ % size, times))
            rows = rows[first]
        self._followers = followers  # all at once: another thread may be waiting for them

    def perplexity(self, texts: Iterable[Sequence[int]]) -> float:
        """Perplexity of a token, the ends of texts counted."""
        end, total, tokens = self.size - 1, 0.0, 0
        for text in texts:
            said = [end] * (self.order - 1) + list(text) + [end]
            for i in range(self.order - 1, len(said)):
                total += self.log_probs(tuple(said[:i]))[said[i]].item()
                tokens += 1
        return math.exp(-total / tokens)

    def scorer(self, memory: Tensor, lengths: Tensor, beam: int) -> "NGramScorer":
        """The scorer of new hypotheses (`imlspike.inference.beam_search.MakeScorer`)."""
        if not self._followers:
            self._count()
        return NGramScorer(self)


class NGramScorer:
    """An `NGramLanguageModel` for the beam search (a `Scorer` of beam_search); it has no state."""

    def __init__(self, lm: NGramLanguageModel):
        self.lm = lm

    def score(self, prefixes: Tensor) -> Tensor:
        """Log probabilities (U, W, V) of what follows `prefixes` (U, W, N), which begin with <sos/eos>."""
        start = [self.lm.size - 1] * (self.lm.order - 2)
        last = prefixes[..., -self.lm.order :].flatten(0, 1).tolist()
        rows = [self.lm.log_probs((*start, *row)) for row in last]
        return torch.stack(rows).to(prefixes.device).unflatten(0, prefixes.shape[:2])

    def advance(self, parents: Tensor, utterances: Tensor | None = None) -> None:
        """Go on: prefixes hold all that counts."""
