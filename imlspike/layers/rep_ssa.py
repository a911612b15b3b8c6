"""RepSSA and the spiking feed-forward: the two branches of an IML-Spikeformer block."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from imlspike.layers.decay import DecayAttention
from imlspike.layers.layout import Layout
from imlspike.layers.norm import MaskedBatchNorm
from imlspike.layers.rep_conv import RepConv
from imlspike.layers.rep_linear import RepLinear
from imlspike.neurons import IMLS

QK = ("key", "both", "none")


def sees_utterance(neuron: nn.Module) -> bool:
    """True if a neuron's threshold is taken over all tokens of an utterance.

    >>> sees_utterance(IMLS(threshold="layer")), sees_utterance(IMLS(threshold="token"))
    (True, False)
    """
    return getattr(neuron, "over_utterance", False)


def fire(neuron: nn.Module, x: Tensor, layout: Layout) -> Tensor:
    """A neuron on packed tokens (K, C); thresholds taken over an utterance see its tokens as (B, N, C).

    >>> import torch
    >>> fire(IMLS(threshold="layer"), torch.ones(3, 2), Layout(torch.tensor([2, 1]), 2)).shape
    torch.Size([3, 2])
    """
    if sees_utterance(neuron):
        return layout.pack(neuron(layout.unpack(x), layout.mask))
    return neuron(x)


def _map(linear: nn.Module, x: Tensor, layout: Layout) -> Tensor:
    return linear(x, layout) if isinstance(linear, RepConv) else linear(x)


class RepSSA(nn.Module):
    r"""Re-parameterised spiking self-attention (named by IML-Spikeformer; our formulation).

    .. math::
        S &= \mathrm{IMLS}(\mathrm{BN}(x)), \quad Q, K, V = \mathrm{RepLinear}_{q,k,v}(S) \\
        o &= \mathrm{RepLinear}_o(\mathrm{IMLS}(\mathrm{decay\_attention}(Q, \mathrm{IMLS}(K),
        \mathrm{IMLS}(V))))

    No softmax: with spikes in K and V both products of the attention are accumulations.

    Args:
        channels: C.
        gamma: (H,) decay of each head; H divides C.
        qk: what fires in the product Q K^T: the ``key``, ``both``, or ``none`` (then W_q W_k^T may be merged
            into one map, and the spikes S take the place of the keys).
        direction, mode, dropout: of `imlspike.layers.DecayAttention`.
        branches: of `RepLinear`.
        gain: of the last `RepLinear`.
        neuron: makes a neuron that takes tokens (..., C); called for each.
        kernel: the maps of q, k, v and o are `RepConv` of so many tokens, causal for the direction ``past``;
            0: `RepLinear`.
        o_affine: the norm ahead of the last IMLS has a trained scale and shift. All others have one, which is
            a threshold for each channel: s(a x + b) at theta = s(x + b / a) at theta / a.

    Forward: x (K, C) packed tokens and their `Layout` -> (K, C).

    Raises:
        ValueError: if H does not divide C, on an unknown `qk`, an even `kernel`, or one over spikes that are
            worth thresholds.

    >>> import torch
    >>> layout = Layout(torch.tensor([5, 3]), 5)
    >>> RepSSA(8, torch.tensor([0.5, 0.9]))(torch.randn(8, 8), layout).shape
    torch.Size([8, 8])
    """

    def __init__(
        self,
        channels: int,
        gamma: Tensor,
        qk: str = "key",
        direction: str | Sequence[str] = "both",
        mode: str = "auto",
        dropout: float = 0.0,
        branches: Sequence[str] = ("linear", "identity"),
        gain: float = 1.0,
        neuron: Callable[[], nn.Module] = IMLS,
        kernel: int = 0,
        o_affine: bool = False,
    ):
        super().__init__()
        self.heads = len(gamma)
        if channels % self.heads:
            raise ValueError(f"the number of heads must divide the channels, got {self.heads} and {channels}")
        if qk not in QK:
            raise ValueError(f"qk must be one of {', '.join(QK)}, got {qk!r}")
        self.norm, self.neuron = MaskedBatchNorm(channels), neuron()
        if kernel and not getattr(self.neuron, "unit", True):
            raise ValueError("a kernel in the maps needs spikes worth 1: it would sum those of thresholds")

        def mapped(gain: float = 1.0) -> nn.Module:
            if kernel:
                return RepConv(channels, kernel, branches, gain, direction == "past")
            return RepLinear(channels, channels, branches, gain)

        self.q, self.k, self.v = mapped(), mapped(), mapped()
        self.q_neuron = neuron() if qk == "both" else None
        self.k_neuron = neuron() if qk in ("key", "both") else None
        self.v_neuron = neuron()
        self.attention = DecayAttention(gamma, direction, mode, dropout)
        # Heads that look far average much and come out small, and with keys and values of one sign the
        # channels of a head go up and down together; without this norm some heads drown out the others under
        # their common threshold.
        self.o_norm, self.o_neuron = MaskedBatchNorm(channels, affine=o_affine), neuron()
        self.o = mapped(gain)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        qkv, carried = self._qkv(x, layout), layout.carried
        if carried is None:
            lengths = None if layout.mask is None else layout.lengths
            return self._merge(self.attention(*qkv, lengths, layout.look_ahead), layout)
        width = qkv[0].shape[-1]
        state = carried.get(self, x.new_zeros(layout.batch, self.heads, width, width))
        told = (carried.tokens, layout.look_ahead, carried.constants, carried.real)
        mixed, carried[self] = self.attention.step(*qkv, state, *told)
        return self._merge(mixed, layout)

    def step(self, x: Tensor, state: Tensor, past: int) -> tuple[Tensor, Tensor]:
        """The next token of R sequences, for the direction ``past``.

        Args:
            x: (R, C).
            state, past: as `DecayAttention.step` takes them.

        Returns:
            (R, C) and the next state.
        """
        layout = Layout(None, 1, len(x))
        mixed, state = self.attention.step(*self._qkv(x, layout), state, past)
        return self._merge(mixed, layout), state

    def _qkv(self, x: Tensor, layout: Layout) -> tuple[Tensor, ...]:
        """Queries, keys and values, each (B, H, N, C/H), zero at padding."""
        spikes = fire(self.neuron, self.norm(x), layout)
        q, k, v = (_map(each, spikes, layout) for each in (self.q, self.k, self.v))
        v = fire(self.v_neuron, v, layout)
        if self.q_neuron is not None:
            q = fire(self.q_neuron, q, layout)
        if self.k_neuron is not None:
            k = fire(self.k_neuron, k, layout)
        return tuple(self._split(layout.unpack(t)) for t in (q, k, v))

    def _merge(self, mixed: Tensor, layout: Layout) -> Tensor:
        """Output of the heads (B, H, N, C/H) -> (K, C)."""
        mixed = self.o_norm(layout.pack(mixed.transpose(1, 2).flatten(2)), owner=self.norm)
        return _map(self.o, fire(self.o_neuron, mixed, layout), layout)

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, H, N, C/H)"""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class SpikingFeedForward(nn.Module):
    """BN -> IMLS -> RepLinear -> dropout -> IMLS -> RepLinear, on packed tokens.

    Args:
        channels: C.
        hidden: width between the two maps.
        dropout: rate on the input of the second neuron.
        branches: of `RepLinear`.
        neuron: makes a neuron that takes tokens (..., C); called for each.

    Forward: x (K, C) and its `Layout` -> (K, C).

    >>> import torch
    >>> SpikingFeedForward(8, 32)(torch.randn(8, 8), Layout(torch.tensor([5, 3]), 5)).shape
    torch.Size([8, 8])
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        dropout: float = 0.0,
        branches: Sequence[str] = ("linear", "identity"),
        gain: float = 1.0,
        neuron: Callable[[], nn.Module] = IMLS,
    ):
        super().__init__()
        self.norm, self.neuron = MaskedBatchNorm(channels), neuron()
        self.expand = RepLinear(channels, hidden, branches)
        self.dropout, self.hidden_neuron = nn.Dropout(dropout), neuron()
        self.project = RepLinear(hidden, channels, branches, gain)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        hidden = self.dropout(self.expand(fire(self.neuron, self.norm(x), layout)))
        return self.project(fire(self.hidden_neuron, hidden, layout))
