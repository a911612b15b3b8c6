"""Spiking attention of a decoder's tokens to an encoder's output."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from imlspike.layers.layout import Layout
from imlspike.layers.norm import MaskedBatchNorm
from imlspike.layers.rep_linear import RepLinear
from imlspike.layers.rep_ssa import fire
from imlspike.neurons import IMLS

NORMALISATIONS = ("softmax", "linear")


class KeyValueSums(nn.Module):
    """Keys and values (U, H, N, D) to the sum of their products (U, H, D, D) and of the keys (U, H, D, 1)."""

    def forward(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return k.transpose(-1, -2) @ v, k.sum(-2)[..., None]


class SpikingCrossAttention(nn.Module):
    r"""Attention of tokens x to the spikes M of a memory. Ours: IML-Spikeformer describes only an encoder.

    .. math::
        Q &= \mathrm{RepLinear}_q(\mathrm{IMLS}(\mathrm{BN}(x))), \quad
        K, V = \mathrm{IMLS}(\mathrm{RepLinear}_{k,v}(M)) \\
        o &= \mathrm{RepLinear}_o(\mathrm{IMLS}(\mathrm{BN}(A V)))

    ``softmax``: :math:`A = \mathrm{softmax}(Q K^T / \sqrt{D})`. Both products touch spikes and are
    accumulations; the softmax between them works on real numbers, H N M of them. It is there because a
    transcript needs sharp alignments.

    ``linear``: :math:`A = Q K^T / \sum_j q_i \cdot k_j` with spikes in Q too, so that weights aren't
    negative. No softmax, and of the memory only :math:`K^T V` and :math:`\sum_j k_j` are kept, whose size
    doesn't depend on its length; but weights of whole numbers of common spikes are blunt.

    The choice of a default rests on a small trial (noisy sequences of 20 symbols, two blocks of 64 channels,
    800 steps, three seeds; share of right next tokens): ``softmax`` 90, 90 and 91 % (ESPnet's
    decoder, of two seeds: 90 and 90 %), ``linear`` 48, 90 and 89 %; on sequences longer than in training 79,
    77 and 79 % against 25, 68 and 71 %.

    Args:
        channels: C, of tokens and memory.
        heads: H, divides C.
        normalisation: ``softmax`` or ``linear``.
        spiking_query: the query fires as well. Under a softmax, a trained factor for each head then says how
            sharp the weights are, which the spikes, being counted against a threshold of their own, can't.
        dropout: rate on the weights (``softmax``) or on what they mix (``linear``).
        branches, gain: of `RepLinear`.
        neuron: makes a neuron that takes tokens (..., C); called for each.

    Forward: x (K, C) packed tokens, their `Layout`, and what `remember` keeps of the memory -> (K, C).

    Raises:
        ValueError: if H does not divide C, or on an unknown `normalisation`.

    >>> attention = SpikingCrossAttention(8, heads=2)
    >>> spikes, memory = torch.ones(9, 8), Layout(torch.tensor([6, 3]), 6)
    >>> kept = attention.remember(spikes, memory)
    >>> attention(torch.randn(5, 8), Layout(torch.tensor([2, 3]), 3), kept, memory.mask).shape
    torch.Size([5, 8])
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        normalisation: str = "softmax",
        spiking_query: bool = False,
        dropout: float = 0.0,
        branches: Sequence[str] = ("linear", "identity"),
        gain: float = 1.0,
        neuron: Callable[[], nn.Module] = IMLS,
    ):
        super().__init__()
        if channels % heads:
            raise ValueError(f"the number of heads must divide the channels, got {heads} and {channels}")
        if normalisation not in NORMALISATIONS:
            raise ValueError(f"cross_attention must be one of {NORMALISATIONS}, got {normalisation!r}")
        self.heads, self.normalisation = heads, normalisation
        self.norm, self.neuron = MaskedBatchNorm(channels), neuron()
        self.q = RepLinear(channels, channels, branches)
        self.k = RepLinear(channels, channels, branches)
        self.v = RepLinear(channels, channels, branches)
        fires = spiking_query or normalisation == "linear"
        self.q_neuron = neuron() if fires else None
        self.k_neuron, self.v_neuron = neuron(), neuron()
        # A module, so that its operations are counted apart: once for an utterance, whatever the beam.
        self.sums = KeyValueSums() if normalisation == "linear" else None
        sharpened = fires and normalisation == "softmax"
        self.sharpness = nn.Parameter(torch.ones(heads)) if sharpened else None
        self.dropout = nn.Dropout(dropout)
        self.o_norm, self.o_neuron = MaskedBatchNorm(channels, affine=False), neuron()
        self.o = RepLinear(channels, channels, branches, gain)

    def remember(self, spikes: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """The tensors of a memory, computed once for all tokens.

        Args:
            spikes: M, packed (K, C), and their `layout`, over U utterances.

        Returns:
            ``softmax``: keys and values, each (U, H, N, D), zero at padding.
            ``linear``: their sum of products (U, H, D, D) and the sum of the keys (U, H, D, 1).
        """
        k = fire(self.k_neuron, self.k(spikes), layout)
        v = fire(self.v_neuron, self.v(spikes), layout)
        # In the order in which each token's product reads them.
        k, v = (self._split(layout.unpack(t)).contiguous() for t in (k, v))
        return (k, v) if self.sums is None else self.sums(k, v)

    def forward(self, x: Tensor, layout: Layout, kept: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """Attend from the tokens to the memory.

        Args:
            x: (K, C) packed tokens; row u of their `layout` belongs to utterance u of the memory.
            kept: what `remember` gave.
            mask: (U, N), True = a real token of the memory; None: all are.
        """
        q = self._queries(x, layout)
        mixed = self._softmax(q, *kept, mask) if self.normalisation == "softmax" else self._linear(q, *kept)
        mixed = self.o_norm(layout.pack(mixed.transpose(1, 2).flatten(2)), owner=self.norm)
        return self.o(fire(self.o_neuron, mixed, layout))

    def weights(
        self, x: Tensor, layout: Layout, kept: tuple[Tensor, Tensor], mask: Tensor | None
    ) -> Tensor | None:
        """Weights (U, H, N, M) of the memory for each token, for a look at them; None for ``linear``,
        of whose memory only sums are kept. Arguments as of `forward`, in evaluation."""
        if self.normalisation == "linear":
            return None
        k = kept[0]
        each = torch.eye(k.shape[2], dtype=k.dtype, device=k.device).expand(*k.shape[:2], -1, -1)
        return self._softmax(self._queries(x, layout), k, each, mask)

    def _queries(self, x, layout):
        q = self.q(fire(self.neuron, self.norm(x), layout))
        if self.q_neuron is not None:
            q = fire(self.q_neuron, q, layout)
        return self._split(layout.unpack(q))

    def _softmax(self, q, k, v, mask):
        q = q / q.shape[-1] ** 0.5
        if self.sharpness is not None:
            q = q * self.sharpness[:, None, None]
        scores = q @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
        return self.dropout(scores.softmax(-1)) @ v

    def _linear(self, q, products, keys):
        # A query without a spike in common with any key gets nothing: its products are zero too.
        return self.dropout((q @ products) / (q @ keys).clamp(min=1e-6))

    def _split(self, x: Tensor) -> Tensor:
        """(U, N, C) -> (U, H, N, D)"""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)
