"""Convolutions along the tokens of sequences whose channels come last, with and without a norm to fold."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from imlspike.layers.layout import Layout
from imlspike.layers.norm import MaskedBatchNorm
from imlspike.layers.norm_functions import pieces, watched
from imlspike.layers.over_time import over_time
from imlspike.layers.spike_linear import _SpikeLinear, _worthwhile


class TokenConv(nn.Conv1d):
    """Convolution over tokens, (..., N, C_in) -> (..., N, C_out), with zeros beyond the ends.

    The windows are laid side by side and multiplied by the weights in one matrix product, in which spikes
    stay spikes.

    Args:
        in_channels, out_channels: C_in, C_out.
        kernel: tokens in a window, odd.
        bias: add one.
        levels: what comes in are whole numbers from 0 to so many (at most 127), unchecked: the products are
            `SpikeLinear`'s; but for the weights' gradient, where it is more than 1. 0: any numbers.

    Raises:
        ValueError: an even kernel, which has no middle.

    >>> import torch
    >>> conv = TokenConv(4, 6, kernel=3)
    >>> x = torch.randn(2, 5, 4)
    >>> plain = F.conv1d(x.transpose(1, 2), conv.weight, conv.bias, padding=1).transpose(1, 2)
    >>> torch.allclose(conv(x), plain, atol=1e-6)
    True
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 1, bias: bool = True, levels: int = 0
    ):
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"a convolution's kernel must be odd, got {kernel}")
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)
        self.levels = levels

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """See the class; the layout plays no part."""
        # A token after the other in a row of the weights, as in the windows.
        weight, kernel = self.weight.transpose(1, 2).flatten(1), self.kernel_size[0]
        if self.levels and _worthwhile(x, weight):
            return (_SpikeConv if self.levels == 1 else _CountConv).apply(x, weight, self.bias)
        plain = kernel == 1 or torch.compiler.is_compiling()  # exporters want plain operations
        return F.linear(windows(x, kernel) if plain else _Windows.apply(x, kernel), weight, self.bias)


def windows(x: Tensor, kernel: int) -> Tensor:
    """(..., N, C) -> (..., N, K C): what a convolution sees at each token, zeros beyond the ends."""
    if kernel == 1:
        return x
    return F.pad(x, (0, 0, kernel // 2, kernel // 2)).unfold(-2, kernel, 1).transpose(-1, -2).flatten(-2)


def _from_windows(grad: Tensor, kernel: int) -> Tensor:
    """The transposed map: (..., N, K C) -> (..., N, C), what each window has for a token added up."""
    if kernel == 1:
        return grad
    parts, half, tokens = grad.unflatten(-1, (kernel, -1)).flatten(0, -4), kernel // 2, grad.shape[-2]
    out = parts[:, :, half].clone()
    for out_, parts_ in pieces(out, parts):
        for tap in range(kernel):
            shift = tap - half  # the tap saw the token so far behind the window's middle
            seen = tokens - abs(shift)
            if shift and seen > 0:
                shares = parts_[:, :, tap].narrow(1, max(-shift, 0), seen)
                out_.narrow(1, max(shift, 0), seen).add_(shares)
    return out.view(*grad.shape[:-1], -1)


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, kernel: int) -> Tensor:
        ctx.kernel = kernel
        return windows(x, kernel)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return _from_windows(grad, ctx.kernel), None


class _SpikeConv(torch.autograd.Function):
    """`SpikeLinear` of the windows, which are made of bytes."""

    @staticmethod
    def forward(ctx, spikes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.kernel = weight.shape[1] // spikes.shape[-1]
        return _SpikeLinear.forward(ctx, windows(spikes.to(torch.int8), ctx.kernel), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        grad_windows, *others = _SpikeLinear.backward(ctx, grad)
        return None if grad_windows is None else _from_windows(grad_windows, ctx.kernel), *others


class _CountConv(_SpikeConv):
    """The same of whole numbers, which don't leave the room in a byte that the weights' gradient needs."""

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        seen, weight = ctx.saved_tensors
        needs_spikes, needs_weight, needs_bias = ctx.needs_input_grad
        asked = _Asked(ctx.saved_tensors, (needs_spikes, False, needs_bias))
        grad_windows, _, grad_bias = _SpikeLinear.backward(asked, grad)
        grad_weight = grad.flatten(0, -2).t() @ seen.to(grad.dtype) if needs_weight else None
        grad_spikes = None if grad_windows is None else _from_windows(grad_windows, ctx.kernel)
        return grad_spikes, grad_weight, grad_bias


class _Asked(NamedTuple):
    """What `SpikeLinear`'s backward pass looks at."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]


class NormedConv(nn.Module):
    """A `TokenConv` and a masked batch norm, which folds into it for inference.

    Behind a norm a current reaches a neuron's fixed threshold from the start of the training.

    Args:
        in_channels, out_channels, kernel: of `TokenConv`.
        gain: first scale of the norm.
        levels: of `TokenConv`.

    Forward: x (T, B, N, C_in), zero at padding, the `Layout` of its tokens and a factor on x, by which spikes
    stay spikes -> (T, B, N, C_out); what stands at padding has no meaning.

    >>> conv, layout = NormedConv(4, 6, 3).eval(), Layout(torch.tensor([5, 4]), 5)
    >>> x = torch.randn(1, 2, 5, 4)
    >>> torch.allclose(conv.folded()(x), conv(x, layout), atol=1e-6)
    True
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 1, gain: float = 1.0, levels: int = 0
    ):
        super().__init__()
        self.conv = TokenConv(in_channels, out_channels, kernel, bias=False, levels=levels)
        self.norm = MaskedBatchNorm(out_channels)
        nn.init.constant_(self.norm.weight, gain)

    def forward(self, x: Tensor, layout: Layout, factor: float = 1.0) -> Tensor:
        """See the class."""
        x = self.conv(x)  # has no bias
        return over_time(self.norm, x if factor == 1.0 else x * factor, layout)

    @torch.no_grad()
    def folded(self) -> TokenConv:
        """The one convolution that equals this one in evaluation."""
        weight = self.conv.weight
        conv = TokenConv(weight.shape[1], weight.shape[0], weight.shape[2], levels=self.conv.levels)
        conv.to(device=weight.device, dtype=weight.dtype)
        scale, shift = self.norm.affine_map()
        conv.weight.copy_(scale[:, None, None] * weight)
        conv.bias.copy_(shift)
        return conv.train(self.training)


def conv_and_fire(conv: nn.Module, neuron: nn.Module, x: Tensor, layout: Layout) -> Tensor:
    """What a neuron makes of a convolution: neuron(conv(x, layout)).

    That of a `NormedConv` in training is `MaskedBatchNorm.fire`, unless a hook watches the convolution.

    >>> from imlspike.neurons import LIF
    >>> layout = Layout(torch.tensor([5, 3]), 5)
    >>> conv_and_fire(NormedConv(4, 6, 3), LIF(), torch.randn(3, 2, 5, 4), layout).shape
    torch.Size([3, 2, 5, 6])
    """
    if isinstance(conv, NormedConv) and conv.training and not watched(conv):
        return conv.norm.fire(neuron, conv.conv(x), None if layout.full else layout.mask)
    return neuron(conv(x, layout))


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
