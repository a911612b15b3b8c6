"""Depthwise convolutions over packed tokens, and RepLinear with one among its branches."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from imlspike.layers.layout import Layout
from imlspike.layers.norm import MaskedBatchNorm
from imlspike.layers.rep_linear import RepLinear


class TimeConv(nn.Module):
    """Depthwise convolution over tokens -> BN, on packed tokens; beyond an utterance's ends, and beyond what
    the `Layout` lets a token see, there are zeros (dynamic chunk convolution, Li et al. 2023).

    Args:
        channels: C.
        kernel: tokens under the kernel, odd.
        causal: the kernel sees the token and those before it; otherwise as many on either side.
        gain: what the scale of the batch norm starts from.

    Forward: x (K, C) packed tokens and their `Layout` -> (K, C).

    Raises:
        ValueError: if `kernel` is even or below 1.

    >>> TimeConv(8, kernel=3)(torch.randn(8, 8), Layout(torch.tensor([5, 3]), 5)).shape
    torch.Size([8, 8])
    """

    def __init__(self, channels: int, kernel: int, causal: bool = False, gain: float = 1.0):
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be an odd number of tokens, got {kernel}")
        self.conv = nn.Conv1d(channels, channels, kernel, groups=channels, bias=False)
        self.out_norm: MaskedBatchNorm | None = MaskedBatchNorm(channels)
        nn.init.constant_(self.out_norm.weight, gain)
        self.before, self.after = (kernel - 1, 0) if causal else (kernel // 2, kernel // 2)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        tokens = layout.unpack(x).transpose(1, 2)
        if layout.look_ahead is None:
            mixed = self.conv(nn.functional.pad(tokens, (self.before, self.after)))
        else:
            mixed = self._in_groups(tokens, layout)
        mixed = layout.pack(mixed.transpose(1, 2))
        return mixed if self.out_norm is None else self.out_norm(mixed)

    def _in_groups(self, x: Tensor, layout: Layout) -> Tensor:
        """(B, C, N) -> (B, C, N), with zeros beyond the end of each group of tokens that see each other."""
        batch, channels, tokens = x.shape
        group = min(layout.look_ahead + 1, tokens)
        before = x.new_zeros(batch, channels, self.before)
        if layout.carried is not None:
            before = layout.carried.get(self, before)
            if (real := layout.carried.real) is not None:
                x = x * (torch.arange(tokens, device=x.device) < real[:, None])[:, None]
        x = torch.cat((before, x), 2)
        if layout.carried is not None:
            layout.carried[self] = x[..., tokens:]
        groups = nn.functional.pad(x, (0, -tokens % group)).unfold(2, self.before + group, group)
        groups = nn.functional.pad(groups, (0, self.after)).transpose(1, 2).flatten(0, 1)
        return self.conv(groups).unflatten(0, (batch, -1)).transpose(1, 2).flatten(2)[..., :tokens]

    @torch.no_grad()
    def fold(self) -> None:
        """Fold the convolution with the batch norm behind it, in place, for evaluation."""
        if self.out_norm is not None:
            scale, shift = self.out_norm.affine_map()
            self.conv.weight.mul_(scale[:, None, None])
            self.conv.bias, self.out_norm = nn.Parameter(shift), None


class RepConv(nn.Module):
    r"""RepLinear with a convolution over tokens among its branches: :math:`y = W s + \mathrm{BN}(d * s)`.

    Both are driven by spikes, so nothing but additions is added: `kernel` for each spike. Spike-driven
    Transformer V3 has such a convolution in its maps of queries, keys, values and output, between two linear
    maps, where it would see no spikes; its place here is ours.

    Args:
        channels: C, of input and output.
        kernel, causal, gain: of `TimeConv`; `gain` and `branches` of `RepLinear`.

    Forward: x (K, C) packed tokens and their `Layout` -> (K, C).

    >>> RepConv(8, kernel=3)(torch.randn(8, 8), Layout(torch.tensor([5, 3]), 5)).shape
    torch.Size([8, 8])
    """

    def __init__(
        self,
        channels: int,
        kernel: int,
        branches: Sequence[str] = ("linear", "identity"),
        gain: float = 1.0,
        causal: bool = False,
    ):
        super().__init__()
        self.linear = RepLinear(channels, channels, branches, gain)
        self.conv = TimeConv(channels, kernel, causal, gain)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return self.linear(x) + self.conv(x, layout)

    def fold(self) -> None:
        """Fold both, in place, for evaluation: a linear map, and a convolution without a norm."""
        if isinstance(self.linear, RepLinear):  # not yet folded
            self.linear = self.linear.folded()
        self.conv.fold()
