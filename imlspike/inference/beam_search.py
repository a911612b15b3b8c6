"""Beam search with CTC, a language model and an attention decoder, over many utterances at once."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple, Protocol

import torch

from imlspike.data.keys import construct
from imlspike.data.yaml_file import read_yaml
from imlspike.inference.ctc_prefix import NEVER, CTCPrefix

PRE_BEAM = 1.5  # CTC scores this many times the beam's tokens: those that the other scorers like best
END_STEPS, END_MARGIN = 3, -10.0  # of Watanabe et al. 2017, Eq. (50): M and D_end


@dataclass(frozen=True)
class SearchOptions:
    """Options of the search; the names and meanings are those of ESPnet's decoding YAML.

    Args:
        beam_size: hypotheses of each utterance.
        ctc_weight: of CTC's log probability; the attention decoder's is 1 - ctc_weight.
        penalty: added for each token.
        maxlenratio: most tokens, as a part of the encoder's frames; 0: as many as frames, and the end is
            detected; below 0: -maxlenratio tokens.
        minlenratio: fewest tokens likewise; below 0: -minlenratio tokens.
        lm_weight: of the language model's log probability.

    Raises:
        ValueError: for a beam or a weight out of range.
    """

    beam_size: int = 10
    ctc_weight: float = 0.5
    penalty: float = 0.0
    maxlenratio: float = 0.0
    minlenratio: float = 0.0
    lm_weight: float = 0.0

    def __post_init__(self):
        if type(self.beam_size) is not int or self.beam_size < 1:
            raise ValueError(f"beam_size is {self.beam_size!r}; expected a whole number, at least 1")
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{name} is {value!r}; expected a number")
        if not 0 <= self.ctc_weight <= 1:
            raise ValueError(f"ctc_weight is {self.ctc_weight}; expected 0 (attention only) to 1 (CTC only)")
        if self.lm_weight < 0:
            raise ValueError(f"lm_weight is {self.lm_weight}; expected at least 0")


def read_options(path: str | os.PathLike | None) -> SearchOptions:
    """The options in a decoding YAML of ESPnet, or the defaults; ConfigError for a wrong key or value."""
    return construct(SearchOptions, {} if path is None else read_yaml(path), os.fspath(path or "defaults"))


class Scorer(Protocol):
    """A scorer of the next token of U utterances with W hypotheses each, all of the same length."""

    def score(self, prefixes: torch.Tensor) -> torch.Tensor:
        """Log probabilities (U, W, V) of the token that follows `prefixes`, long (U, W, N)."""

    def advance(self, parents: torch.Tensor, utterances: torch.Tensor | None = None) -> None:
        """Go on with the utterances (U',), None: all: slot w continues the former slot `parents[., w]`."""


# Makes a scorer for the encoder's output (U, T, C), padded, its lengths (U,), and W.
MakeScorer = Callable[[torch.Tensor, torch.Tensor, int], Scorer]


def rows_of(parents: torch.Tensor, utterances: torch.Tensor | None) -> torch.Tensor:
    """Row numbers (U' W,) among U W rows of the slots `parents` (U', W) of `utterances`; see `Scorer`."""
    if utterances is None:
        utterances = torch.arange(len(parents), device=parents.device)
    return (utterances[:, None] * parents.size(1) + parents).flatten()


class Hypothesis(NamedTuple):
    """A transcript that ended: token numbers without <sos> and <eos>, and its weighted log probability."""

    tokens: list[int]
    score: float


@dataclass
class BeamSearch:
    """The search of ESPnet's `BatchBeamSearch` with its `CTCPrefixScorer`, for many utterances in one go.

    The score of N tokens is (1 - ctc_weight) log p_attention + ctc_weight log p_CTC + lm_weight log p_LM +
    penalty N. At every step the decoder (and the LM) scores all tokens, CTC the best 1.5 W of each
    hypothesis (and <eos>), and the best W of an utterance go on; W is the beam's size. An utterance is done
    when the ended hypotheses get ever worse (Watanabe et al. 2017, Eq. 50), and leaves the batch.

    Where it differs from ESPnet: CTC's probabilities are computed in double precision; sums may be rounded
    otherwise; and a hypothesis that reaches the greatest length when it ends ends once (ESPnet appends a
    second <eos> to it).

    Args:
        log_probs: from the encoder's output (U, T, C) to CTC's log probabilities (U, T, V); not used if
            ctc_weight is 0.
        eos: the number of <sos/eos>.
        options: see `SearchOptions`.
        attention: makes the scorer of the attention decoder; not used if ctc_weight is 1.
        lm: makes the scorer of the language model; not used if lm_weight is 0.
    """

    log_probs: Callable[[torch.Tensor], torch.Tensor]
    eos: int
    options: SearchOptions
    attention: MakeScorer | None = None
    lm: MakeScorer | None = None

    @torch.no_grad()
    def __call__(
        self, encoded: torch.Tensor, lengths: torch.Tensor, minlenratio: float | None = None
    ) -> list[list[Hypothesis]]:
        """The ended hypotheses of each utterance, best first.

        Args:
            encoded: the encoder's output (U, T, C); what padding holds has no effect.
            lengths: its lengths (U,).
            minlenratio: in place of that of the options. Where nothing is long enough, it is lowered by 0.1.

        Raises:
            FloatingPointError: if scores aren't numbers.
        """
        minlenratio = self.options.minlenratio if minlenratio is None else minlenratio
        frames = lengths.tolist()
        most = self.options.maxlenratio or 1.0
        ended = [_Ended(_tokens(minlenratio, n), max(1, _tokens(most, n))) for n in frames]
        running = _Running(self, encoded, lengths)
        active = list(range(len(frames)))
        step = 0
        while active:
            best, parents, tokens = running.extend()
            last = torch.tensor([step + 1 >= ended[u].most for u in active], device=best.device)
            ends = (best > NEVER) & ((tokens == self.eos) | last[:, None])
            rows, slots = ends.nonzero(as_tuple=True)
            prefixes = running.prefixes[rows, parents[rows, slots], 1:]
            columns = (rows, prefixes, tokens[rows, slots], best[rows, slots])
            for row, prefix, token, score in zip(*(column.tolist() for column in columns), strict=True):
                said = prefix if token == self.eos else [*prefix, token]
                ended[active[row]].add(step, Hypothesis(said, score))
            best = best.masked_fill(ends, NEVER)
            left = (best > NEVER).any(1).tolist()
            if self.options.maxlenratio == 0:
                left = [more and not ended[u].detected(step) for more, u in zip(left, active, strict=True)]
            active = list(compress(active, left))
            running.advance(best, parents, tokens, torch.tensor(left, device=best.device))
            step += 1
        found = [sorted(e.hypotheses, key=lambda h: -h.score) for e in ended]
        again = [u for u, hypotheses in enumerate(found) if not hypotheses]
        if again and minlenratio >= 0.1:  # nothing was long enough
            second = self(encoded[again], lengths[again], max(0.0, minlenratio - 0.1))
            for u, hypotheses in zip(again, second, strict=True):
                found[u] = hypotheses
        return found


class _Running:
    """The hypotheses of U utterances that go on: W slots each, of which some may be empty (score -inf)."""

    def __init__(self, search: BeamSearch, encoded: torch.Tensor, lengths: torch.Tensor):
        self.options, beam = search.options, search.options.beam_size
        weight = self.options.ctc_weight
        self.full = []  # scorers of all tokens, and their weights
        if weight < 1:
            self.full.append((search.attention(encoded, lengths, beam), 1 - weight))
        if search.lm is not None and self.options.lm_weight:
            self.full.append((search.lm(encoded, lengths, beam), self.options.lm_weight))
        self.ctc = None
        if weight > 0:
            self.ctc = CTCPrefix(search.log_probs(encoded), lengths, beam, eos=search.eos)
        self.prefixes = torch.full((len(encoded), beam, 1), search.eos, device=encoded.device)
        self.score = encoded.new_full((len(encoded), beam), NEVER)
        self.score[:, 0] = 0.0

    def extend(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The best W continuations of each utterance: scores, former slots and tokens, each (U, W)."""
        beam = self.options.beam_size
        total = sum(weight * scorer.score(self.prefixes) for scorer, weight in self.full)
        total = total + self.options.penalty
        if self.ctc is not None:
            candidates = None
            if self.options.ctc_weight < 1 and int(PRE_BEAM * beam) < total.size(-1):
                candidates = total.topk(int(PRE_BEAM * beam), -1).indices
            total = total + self.options.ctc_weight * self.ctc.scores(candidates).to(self.score.dtype)
        total = total + self.score[..., None]
        best, places = total.flatten(1).topk(beam)
        if best.isnan().any():
            raise FloatingPointError("a score isn't a number; is the model (or the LM) well trained?")
        return best, places // total.size(-1), places % total.size(-1)

    def advance(self, best, parents, tokens, left) -> None:
        """Go on with the hypotheses (U, W) of the utterances that are `left`, bool (U,)."""
        utterances = None
        if not left.all():
            utterances = left.nonzero()[:, 0]
            best, parents, tokens = best[utterances], parents[utterances], tokens[utterances]
            self.prefixes = self.prefixes[utterances]
        if not len(best):
            return
        self.score = best
        kept = self.prefixes.gather(1, parents[..., None].expand(-1, -1, self.prefixes.size(2)))
        self.prefixes = torch.cat([kept, tokens[..., None]], 2)
        for scorer, _ in self.full:
            scorer.advance(parents, utterances)
        if self.ctc is not None:
            self.ctc.advance(parents, tokens, utterances)


class _Ended:
    """The hypotheses of one utterance that ended, of `fewest` to `most` tokens."""

    def __init__(self, fewest: int, most: int):
        self.fewest, self.most = fewest, most
        self.hypotheses: list[Hypothesis] = []
        self.best_at: dict[int, float] = {}

    def add(self, step: int, hypothesis: Hypothesis) -> None:
        """Keep a hypothesis that ended at this step, if it is long enough."""
        if step < self.fewest:
            return
        self.hypotheses.append(hypothesis)
        self.best_at[step] = max(self.best_at.get(step, NEVER), hypothesis.score)

    def detected(self, step: int) -> bool:
        """Tell that those that ended of late, two steps back as in ESPnet, are far worse than the best."""
        late = [self.best_at.get(step - 2 - back) for back in range(END_STEPS)]
        return None not in late and max(late) - max(self.best_at.values()) < END_MARGIN


def _tokens(ratio: float, frames: int) -> int:
    """A length ratio as a number of tokens."""
    return int(-ratio) if ratio < 0 else int(ratio * frames)
