"""Spiking temporal-sequential attention (SpikeVoice), the axis that it mixes explicit."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imlspike.layers.layout import Layout
from imlspike.layers.over_time import GAIN, blank, over_time
from imlspike.layers.rep_linear import RepLinear
from imlspike.ops.reference import wide

AXES = ("temporal", "sequential")


class HeadNorm(nn.Module):
    """Layer norm over the channels of each head, with a scale and a shift for every channel.

    Forward: (..., C) -> (..., C).

    Args:
        channels: C.
        heads: H, divides C.
        gain: first scale.

    >>> HeadNorm(4, heads=2)(torch.tensor([0.0, 2.0, 5.0, 5.0])).round().tolist()
    [-1.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, channels: int, heads: int, gain: float = 1.0, eps: float = 1e-6):
        super().__init__()
        self.heads, self.eps = heads, eps
        self.weight = nn.Parameter(torch.full((channels,), gain))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(-1, (self.heads, -1))
        return F.layer_norm(x, x.shape[-1:], eps=self.eps).flatten(-2) * self.weight + self.bias


class STSA(nn.Module):
    r"""One half of spiking temporal-sequential attention: mixes over T or over the tokens.

    .. math::
        S &= \mathrm{SN}(x), \quad Q, K, V = \mathrm{SN}(\mathrm{BN}(W_{q,k,v} S)) \\
        g &= \mathrm{SN}(\mathrm{HeadNorm}(\mathrm{mean}_{axis}(K \odot V))), \quad
        y = W_o (Q \odot g) + b_o

    SN is a spiking neuron, whose recurrence runs along T whichever axis is mixed. ``temporal``: the mean is
    over T, so that each step sees future steps too (the paper's answer to "partial-time dependency");
    ``sequential``: over the real tokens of the utterance. The mean stands at every place of the mixed axis.

    K V is summed before Q comes in, so the cost is linear in N: for each token and step 4 C^2 connections for
    the maps and 2 C operations for the mixing, and no product of tokens with tokens.

    The paper's gate is the bare sum, which saturates as the sequence grows. Normalised over the channels of
    each head (ours), sum and mean are the same current, of the same size for any length; the mean only keeps
    numbers small, as half precision needs. The norm is also where heads matter: channels compete for the gate
    inside their head.

    Args:
        channels: C.
        heads: H, divides C.
        axis: ``temporal`` or ``sequential``.
        neuron: makes a spiking neuron that takes (T, ..., channels); called three times.

    Forward: x (T, B, N, C) and the `Layout` of its N tokens -> (T, B, N, C); what stands at padding has no
    meaning, and is seen by no other token.

    Raises:
        ValueError: if H does not divide C, or on an unknown axis.

    >>> from imlspike.neurons import LIF
    >>> attention = STSA(8, heads=2, axis="temporal", neuron=LIF)
    >>> attention(torch.randn(4, 2, 5, 8), Layout(torch.tensor([5, 3]), 5)).shape
    torch.Size([4, 2, 5, 8])
    """

    def __init__(self, channels: int, heads: int, axis: str, neuron: Callable[[], nn.Module]):
        super().__init__()
        check_heads(channels, heads)
        if axis not in AXES:
            raise ValueError(f"axis must be one of {', '.join(AXES)}, got {axis!r}")
        self.axis, self.neuron = axis, neuron()
        self.qkv = RepLinear(channels, 3 * channels, ("linear",), GAIN)
        self.qkv_neuron = neuron()
        self.gate_norm, self.gate_neuron = HeadNorm(channels, heads, GAIN), neuron()
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        currents = over_time(self.qkv, self.neuron(x), layout).unflatten(-1, (3, -1))
        # Thresholds that depend on the input are of the queries, of the keys and of the values.
        q, k, v = self.qkv_neuron(currents).unbind(-2)
        gate = self.gate_neuron(self.gate_norm(self.mix(k, v, layout)).expand(len(x), *(-1,) * 3))
        return self.out(q * gate)

    def mix(self, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
        """Mean of K V over the axis, which is left with length 1: (1, B, N, C) or (T, B, 1, C)."""
        if self.axis == "temporal":
            return (k * v).mean(0, keepdim=True)
        if layout.mask is None:
            return (k * v).mean(2, keepdim=True)
        total = blank(k * v, layout).sum(2, keepdim=True, dtype=wide(k))  # which fp16 may not hold
        return (total / layout.lengths[:, None, None]).to(k.dtype)


class SoftmaxAttention(nn.Module):
    """Multi-head attention with a softmax (Vaswani et al. 2017) behind a neuron: FastSpeech 2's, for the ANN.

    Its cost grows with the square of N. Time steps, where there are any, do not mix.

    Args:
        channels: C.
        heads: H, divides C.
        dropout: rate on the weights.
        neuron: makes what stands in front of the maps of Q, K and V; None: nothing.

    Forward: x (T, B, N, C) and the `Layout` of its N tokens -> (T, B, N, C).

    Raises:
        ValueError: if H does not divide C.

    >>> attention = SoftmaxAttention(8, heads=2, dropout=0.0)
    >>> attention(torch.randn(1, 2, 5, 8), Layout(torch.tensor([5, 3]), 5)).shape
    torch.Size([1, 2, 5, 8])
    """

    def __init__(
        self, channels: int, heads: int, dropout: float, neuron: Callable[[], nn.Module] | None = None
    ):
        super().__init__()
        check_heads(channels, heads)
        self.heads, self.dropout = heads, dropout
        self.neuron = neuron() if neuron else nn.Identity()
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        qkv = self.qkv(self.neuron(x)).unflatten(-1, (3, self.heads, -1)).flatten(0, 1)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        mask = None if layout.mask is None else layout.mask.repeat(len(x), 1)[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        return self.out(mixed.transpose(1, 2).flatten(2).unflatten(0, x.shape[:2]))


def check_heads(channels: int, heads: int) -> None:
    """Stops where H does not divide C.

    Raises:
        ValueError: naming both numbers.

    >>> check_heads(256, 2)
    """
    if heads < 1 or channels % heads:
        raise ValueError(f"the number of heads must divide the channels, got {heads} and {channels}")
