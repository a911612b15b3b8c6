"""Depthwise convolution over frames of channels that lie side by side."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from imlspike.layers.norm_functions import watched
from imlspike.neurons import kernels
from imlspike.neurons.library import loops_serve


def depthwise(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """What a depthwise convolution makes of x (..., L, C), channels last.

    On a CPU, in fp32, a compiled loop takes the channels as they lie. Elsewhere, where a hook watches the
    module, under autocast and when exporting, the module itself is called.

    Args:
        x: (..., L, C).
        conv: as many groups as channels, an odd kernel, half of which its padding is.

    Returns:
        (..., L, C), in the type that the module gives.

    >>> conv = nn.Conv1d(8, 8, 7, padding=3, groups=8)
    >>> x = torch.randn(2, 10, 8)
    >>> torch.allclose(depthwise(x, conv), conv(x.transpose(1, 2)).transpose(1, 2), atol=1e-5)
    True
    """
    flat = x.flatten(0, -3)
    if _serve(x, conv):
        return _Depthwise.apply(flat, conv.weight, conv.bias).view(x.shape)
    return conv(flat.transpose(1, 2)).transpose(1, 2).unflatten(0, x.shape[:-2])


def _serve(x: Tensor, conv: nn.Conv1d) -> bool:
    plain = type(conv) is nn.Conv1d and conv.kernel_size[0] <= kernels.MOST_TAPS and not watched(conv)
    return plain and not torch.is_autocast_enabled("cpu") and loops_serve(x, conv.weight)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        return kernels.depthwise(x, _rows(weight), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, weight = ctx.saved_tensors
        grad, (needs_x, *others) = grad.contiguous(), ctx.needs_input_grad
        # What a frame gave to others comes back from them: the same convolution, its kernel turned.
        grad_x = kernels.depthwise(grad, _rows(weight.flip(2)), None) if needs_x else None
        if not any(others):
            return grad_x, None, None
        grad_weight, grad_bias = kernels.depthwise_weights(x, grad, weight.shape[2])
        return grad_x, grad_weight.t()[:, None], grad_bias if others[1] else None


def _rows(weight: Tensor) -> Tensor:
    """(C, 1, taps) -> (taps, C)"""
    return weight[:, 0].t().contiguous()
