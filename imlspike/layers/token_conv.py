"""Convolutions along the tokens of sequences whose channels come last, with and without a norm to fold."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imlspike.layers.layout import Layout
from imlspike.layers.norm import MaskedBatchNorm
from imlspike.layers.over_time import over_time


class TokenConv(nn.Conv1d):
    """Convolution over tokens, (..., N, C_in) -> (..., N, C_out), with zeros beyond the ends.

    The windows are laid side by side and multiplied by the weights in one matrix product, in which spikes
    stay spikes.

    Args:
        in_channels, out_channels: C_in, C_out.
        kernel: tokens in a window, odd.
        bias: add one.

    Raises:
        ValueError: an even kernel, which has no middle.

    >>> import torch
    >>> conv = TokenConv(4, 6, kernel=3)
    >>> x = torch.randn(2, 5, 4)
    >>> plain = F.conv1d(x.transpose(1, 2), conv.weight, conv.bias, padding=1).transpose(1, 2)
    >>> torch.allclose(conv(x), plain, atol=1e-6)
    True
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, bias: bool = True):
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"a convolution's kernel must be odd, got {kernel}")
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Convolve as the class says; the layout plays no part."""
        # A token after the other in a row of the weights, as in the windows.
        weight, kernel = self.weight.transpose(1, 2).flatten(1), self.kernel_size[0]
        return F.linear(windows(x, kernel), weight, self.bias)


def windows(x: Tensor, kernel: int) -> Tensor:
    """(..., N, C) -> (..., N, K C): what a convolution sees at each token, zeros beyond the ends."""
    if kernel == 1:
        return x
    return F.pad(x, (0, 0, kernel // 2, kernel // 2)).unfold(-2, kernel, 1).transpose(-1, -2).flatten(-2)


class NormedConv(nn.Module):
    """A `TokenConv` and a masked batch norm, which folds into it for inference.

    Behind a norm a current reaches a neuron's fixed threshold from the start of the training.

    Args:
        in_channels, out_channels, kernel: of `TokenConv`.
        gain: first scale of the norm.

    Forward: x (T, B, N, C_in), zero at padding, and the `Layout` of its tokens -> (T, B, N, C_out); what
    stands at padding has no meaning.

    >>> conv, layout = NormedConv(4, 6, 3).eval(), Layout(torch.tensor([5, 4]), 5)
    >>> x = torch.randn(1, 2, 5, 4)
    >>> torch.allclose(conv.folded()(x), conv(x, layout), atol=1e-6)
    True
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, gain: float = 1.0):
        super().__init__()
        self.conv = TokenConv(in_channels, out_channels, kernel, bias=False)
        self.norm = MaskedBatchNorm(out_channels)
        nn.init.constant_(self.norm.weight, gain)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return over_time(self.norm, self.conv(x), layout)

    @torch.no_grad()
    def folded(self) -> TokenConv:
        """The one convolution that equals this one in evaluation."""
        weight = self.conv.weight
        conv = TokenConv(weight.shape[1], weight.shape[0], weight.shape[2])
        conv.to(device=weight.device, dtype=weight.dtype)
        scale, shift = self.norm.affine_map()
        conv.weight.copy_(scale[:, None, None] * weight)
        conv.bias.copy_(shift)
        return conv.train(self.training)


def fold_normed_convs(module: nn.Module) -> nn.Module:
    """Replaces every `NormedConv` in `module`, in place, by its folded `TokenConv`; returns `module`.

    >>> fold_normed_convs(nn.Sequential(NormedConv(4, 6)).eval())[0].bias is None
    False
    """
    for name, child in module.named_children():
        if isinstance(child, NormedConv):
            setattr(module, name, child.folded())
        else:
            fold_normed_convs(child)
    return module
