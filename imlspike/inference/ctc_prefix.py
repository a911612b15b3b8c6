"""Log probabilities of label prefixes under CTC, for all hypotheses of many utterances at once."""

import torch

IMPOSSIBLE = -1e10  # the score of a prefix that CTC can't emit; finite, as ESPnet has it
NEVER = float("-inf")
TINY = -690.0  # exp of less is a denormal number or nearly one, slow to compute with, and counts as 0

MANY = 32  # tokens for each candidate: from here on, only the candidates' frames are looked at
PER_UTTERANCE = ("within", "final", "by_token", "probs", "blanks", "log_blank", "log_all", "last", "next")


class CTCPrefix:
    """Extends label prefixes token by token (Watanabe et al. 2017, Algorithm 2) without a loop over frames.

    With x_t(c) the probability of token c in frame t, let phi_t(g) be that of the paths which have said g,
    and no more, by frame t; r^b_t(g) of those that end in a blank. The labels begin with g, then c, with

        psi(g c) = sum_t phi'_{t-1} x_t(c),   phi'_t = r^b_t(g) if c repeats the end of g, else phi_t(g)

    which for all c together is a product of matrices. The paths of a chosen g c follow linear recurrences,

        r^n_t = x_t(c) (r^n_{t-1} + phi'_{t-1}),   r^b_t = x_t(blank) (r^b_{t-1} + r^n_{t-1})

    solved by a running sum of phi'_{t-1} / (x_0(c) ... x_{t-1}(c)), which is a `logcumsumexp` in double
    precision. ESPnet's `CTCPrefixScoreTH` computes the same in single precision, frame by frame, and follows
    the paths of every candidate instead of the chosen ones.

    Args:
        log_probs: float (U, T, V), log softmax of U utterances of T frames; padding has no effect.
        lengths: frames of each utterance (U,).
        beam: hypotheses of each utterance, W; all begin empty.
        blank, eos: token numbers; a prefix is complete when `eos` follows it.

    >>> log_probs = torch.tensor([[[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]]).log()  # blank, a, eos
    >>> prefix = CTCPrefix(log_probs, torch.tensor([2]), beam=1, eos=2)
    >>> prefix.scores().exp()  # begins with a: a-, -a or aa and "a" before something else; ends: --
    tensor([[[0.0000, 0.3750, 0.2500]]], dtype=torch.float64)
    >>> prefix.advance(torch.tensor([[0]]), torch.tensor([[1]]))
    >>> prefix.scores().exp()  # is "a": a-, -a, aa; 0.3125 / 0.375
    tensor([[[0.0000, 0.0000, 0.8333]]], dtype=torch.float64)
    """

    def __init__(
        self, log_probs: torch.Tensor, lengths: torch.Tensor, beam: int, blank: int = 0, eos: int = -1
    ):
        utterances, frames, self.tokens = log_probs.shape
        self.blank, self.eos = blank, eos % self.tokens
        self.within = torch.arange(frames, device=log_probs.device) < lengths[:, None]  # (U, T)
        self.final = (lengths - 1)[:, None, None].expand(-1, beam, 1)
        self.by_token = log_probs.transpose(1, 2).contiguous()  # (U, V, T)
        self.probs = None  # (U, T, V) in double precision, where it is used
        self.blanks = log_probs[:, None, :, blank].double().cumsum(-1)  # (U, 1, T)
        self.log_blank = self.blanks.expand(-1, beam, -1)  # r^b of each hypothesis (U, W, T)
        self.log_all = self.log_blank  # r^b + r^n
        self.last = torch.full((utterances, beam), self.eos, device=log_probs.device)
        self.log_psi = log_probs.new_zeros(utterances, beam, dtype=torch.float64)
        self.start = 0.0  # log phi before the first frame: only the empty prefix has been said by then
        self.next = None

    def scores(self, candidates: torch.Tensor | None = None) -> torch.Tensor:
        """log psi(g c) - log psi(g), double (U, W, V), for every hypothesis g and token c.

        Tokens that aren't among the candidates, long (U, W, S), are `IMPOSSIBLE`, except eos. None: all are.
        """
        before = _shift(self.log_all, self.start).masked_fill(~self.within[:, None], NEVER)
        peak = before.amax(-1, keepdim=True).clamp(min=IMPOSSIBLE)
        before = before - peak
        before = before.exp().masked_fill(before < TINY, 0.0)
        again = _shift(self.log_blank, NEVER) + self._frames_of(self.last)
        again = again.masked_fill(~self.within[:, None], NEVER).logsumexp(-1, keepdim=True)
        log_psi = self._sum_of(before, candidates).log() + peak
        tokens = torch.arange(self.tokens, device=peak.device) if candidates is None else candidates
        log_psi = torch.where(tokens == self.last[..., None], again, log_psi).clamp(min=IMPOSSIBLE)
        if candidates is not None:
            everything = log_psi.new_full((*self.last.shape, self.tokens), IMPOSSIBLE)
            log_psi = everything.scatter_(2, candidates, log_psi)
        log_psi[..., self.eos] = self.log_all.gather(2, self.final)[..., 0].clamp(min=IMPOSSIBLE)
        log_psi[..., self.blank] = IMPOSSIBLE
        self.next = log_psi
        return log_psi - self.log_psi[..., None]

    def _sum_of(self, before: torch.Tensor, candidates: torch.Tensor | None) -> torch.Tensor:
        """sum_t before_t x_t(c): double (U, W, V), or (U, W, S) of the candidates c."""
        if candidates is not None and MANY * candidates.size(-1) < self.tokens:
            return (self._frames_of(candidates).exp() @ before[..., None]).squeeze(-1)
        if self.probs is None:
            self.probs = self.by_token.transpose(1, 2).double().exp()
        psi = before @ self.probs
        return psi if candidates is None else psi.gather(2, candidates)

    def advance(
        self, parents: torch.Tensor, tokens: torch.Tensor, utterances: torch.Tensor | None = None
    ) -> None:
        """Go on with the utterances (U',), None: all: slot w is the former slot `parents[., w]` and a token.

        Args:
            parents, tokens: long (U', W).
        """
        if utterances is not None:
            for name in PER_UTTERANCE:
                if (values := getattr(self, name)) is not None:
                    setattr(self, name, values[utterances])
        rows = torch.arange(len(parents), device=parents.device)[:, None]
        self.log_psi = self.next[rows, parents, tokens]
        repeats = (tokens == self.last[rows, parents])[..., None]
        before = torch.where(repeats, self.log_blank[rows, parents], self.log_all[rows, parents])
        steps = self._frames_of(tokens).cumsum(-1)
        log_token = steps + (_shift(before, self.start) - _shift(steps, 0.0)).logcumsumexp(-1)
        self.log_blank = self.blanks + (_shift(log_token, NEVER) - _shift(self.blanks, 0.0)).logcumsumexp(-1)
        self.log_all = torch.logaddexp(log_token, self.log_blank)
        self.last, self.start = tokens, NEVER

    def _frames_of(self, tokens: torch.Tensor) -> torch.Tensor:
        """log x_t of tokens (U, W, ...) in every frame, double (U, W, ..., T)."""
        rows = torch.arange(len(tokens), device=tokens.device)
        return self.by_token[rows.view(-1, *[1] * (tokens.dim() - 1)), tokens].double()


def _shift(values: torch.Tensor, first: float) -> torch.Tensor:
    """Values (..., T) one frame later, with `first` in frame 0."""
    return torch.nn.functional.pad(values[..., :-1], (1, 0), value=first)
