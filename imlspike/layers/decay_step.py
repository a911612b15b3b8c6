"""Decay attention on the past from one token to the next, with a state of constant size."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from imlspike.layers.decay import DecayAttention


class RecurrentDecayAttention(DecayAttention):
    r"""`decay_attention` on the past, over whole sequences or token by token; both give the same numbers.

    .. math::
        F_i = \gamma F_{i-1} + k_i^T v_i, \quad n_i = \sum_{j \le i} \gamma^{i-j}, \quad
        o_i = \frac{q_i F_i}{n_i \sqrt{D}}

    However long the past is, F takes D x D numbers a head.

    Args:
        gamma: (H,) decays.
        mode: of `decay_attention`, for whole sequences.
        dropout: rate on the output over whole sequences; there are no weights that sum to one to drop from.

    Forward: q, k, v (B, H, N, D), lengths (B,) or None -> (B, H, N, D). Within `carrying`, N is 1.

    >>> attention = RecurrentDecayAttention(torch.tensor([0.5, 0.9])).double()
    >>> q, k, v = torch.randn(3, 1, 2, 5, 4).double()
    >>> sums, outputs = q.new_zeros(1, 2, 4, 4), []
    >>> for i in range(5):
    ...     with attention.carrying(sums, past=i):
    ...         outputs.append(attention(q[:, :, i : i + 1], k[:, :, i : i + 1], v[:, :, i : i + 1]))
    >>> torch.allclose(torch.cat(outputs, 2), attention(q, k, v))
    True
    """

    def __init__(self, gamma: Tensor, mode: str = "auto", dropout: float = 0.0):
        super().__init__(gamma, "past", mode)
        self.dropout = nn.Dropout(dropout)
        self._carried: tuple[Tensor, int] | None = None

    @contextmanager
    def carrying(self, sums: Tensor, past: int) -> Iterator[None]:
        """While it lasts, `forward` takes the next token of each sequence, and `sums` goes on by that token.

        Args:
            sums: F of each sequence (B, H, D, D) after `past` tokens, zero after none; updated in place.
            past: tokens so far, of every sequence.
        """
        self._carried = sums, past
        try:
            yield
        finally:
            self._carried = None

    def forward(self, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See the class."""
        if self._carried is None:
            return self.dropout(super().forward(q, k, v, lengths))
        sums, past = self._carried
        gamma = self.gamma.double()
        seen = torch.where(gamma == 1, past + 1.0, (1 - gamma ** (past + 1)) / (1 - gamma).clamp(min=1e-12))
        sums.mul_(self.gamma.to(sums.dtype)[:, None, None]).add_(k.transpose(-1, -2) @ v)
        scale = (seen * q.shape[-1] ** 0.5).to(q.dtype)[:, None, None]
        return (q / scale) @ sums.to(q.dtype)
