"""Batch norm of the real rows of a padded batch, and of the neurons behind it, with the gradients by hand.

x is (K, C), `real` (K) bool tells padding by False (None: there is none), which comes out as zero. The mean
and the variance of the real rows are fp64. The loops in C (norm_loops) and torch's operations, which serve
where those can't, compute the same.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from imlspike.layers import norm_loops
from imlspike.neurons import LIF
from imlspike.neurons.functional import LIFParameters
from imlspike.neurons.kernels import MOST_STEPS

# Elements that a thread works on at a time, so that all passes over them hit its cache.
_PIECE = 1 << 17


def masked_norm(
    x: Tensor, real: Tensor, count: int, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """weight (x - mean) / sqrt(variance + eps) + bias, the mean and the variance; `count` rows are real.

    Rows stay where they are, instead of being picked out and put back, forward and backward.

    >>> x, real = torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([True, True, False])
    >>> y, mean, variance = masked_norm(x, real, 2, torch.ones(1), torch.zeros(1), 0.0)
    >>> y.flatten().tolist(), mean.item(), variance.item()
    ([-1.0, 1.0, 0.0], 2.0, 1.0)
    """
    return _MaskedNorm.apply(x, real, count, weight, bias, eps)


def firing_serves(x: Tensor, norm: nn.Module, neuron: nn.Module) -> bool:
    """Whether `normed_spikes` can stand for the norm and the neuron called in turn on x (T, B, N, C).

    It can for a LIF where the loops serve, unless somebody watches one of the two by a hook.

    >>> firing_serves(torch.zeros(2, 1, 3, 4, dtype=torch.float64), nn.BatchNorm1d(4), LIF())
    False
    """
    fits = isinstance(neuron, LIF) and len(x) <= MOST_STEPS
    return fits and not watched(norm, neuron) and norm_loops.serve(x)


def watched(*modules: nn.Module) -> bool:
    """Whether somebody sees by a hook what enters or leaves one of the modules.

    >>> neuron = LIF()
    >>> handle = neuron.register_forward_hook(lambda *_: None)
    >>> watched(nn.Identity(), neuron)
    True
    """
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for module in modules for kind in hooks)


def normed_spikes(
    x: Tensor,
    real: Tensor | None,
    count: int,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    steps: int,
    neuron: LIF,
) -> tuple[Tensor, Tensor, Tensor]:
    """What T steps of a neuron make, from rest, of `masked_norm` of x (T K', C); the mean and the variance.

    The current that enters the neurons is computed while it is in the cache, forward and again backward.
    """
    p = neuron._parameters_for(x)
    return _NormedSpikes.apply(x, real, count, weight, bias, p.leak, eps, steps, p)


class _MaskedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, real: Tensor, count: int, weight: Tensor, bias: Tensor, eps: float):
        mean, variance, inverse, scale, shift = _affine_map(x, real, count, weight, bias, eps)
        ctx.count = count
        ctx.save_for_backward(x, real, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        if norm_loops.serve(x):
            return norm_loops.affine(x, real, scale, shift), mean, variance
        y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        for x_, y_ in pieces(x, y):
            torch.addcmul(shift, x_, scale, out=y_)
        return y.index_fill_(0, _padding(real), 0.0), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor, *_):
        x, real, weight, mean, inverse = ctx.saved_tensors
        sums = _gradient_sums(x, grad, real, mean)
        scale, slope, shift, *others = _slopes(*sums, ctx.count, weight, mean, inverse, x.dtype)
        grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        if norm_loops.serve(x):
            norm_loops.gradient(x, grad.contiguous(), real, scale, slope, shift, grad_x)
            return grad_x, None, None, *others, None
        for x_, grad_, out in pieces(x, grad, grad_x):
            torch.addcmul(shift, x_, slope, out=out).addcmul_(grad_, scale)
        return grad_x.index_fill_(0, _padding(real), 0.0), None, None, *others, None


class _NormedSpikes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, real, count: int, weight, bias, leak, eps: float, steps: int, p: LIFParameters):
        mean, variance, inverse, scale, shift = _affine_map(x, real, count, weight, bias, eps)
        learned = isinstance(leak, Tensor)
        ctx.leak = None if learned else leak
        ctx.count, ctx.steps, ctx.p = count, steps, p._replace(leak=0.0)
        ctx.save_for_backward(x, real, weight, mean, inverse, scale, shift, leak if learned else None)
        ctx.mark_non_differentiable(mean, variance)
        return norm_loops.fire(x, real, scale, shift, steps, leak, p), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor, *_):
        x, real, weight, mean, inverse, scale, shift, leak = ctx.saved_tensors
        neurons = (ctx.steps, ctx.leak if leak is None else leak, ctx.p)
        grad, of_grad, of_product, of_leak = norm_loops.fire_back(
            x, real, scale, shift, *neurons, grad.contiguous()
        )
        sums = (of_grad, of_product - mean * of_grad)
        scale, slope, shift, *others = _slopes(*sums, ctx.count, weight, mean, inverse, x.dtype)
        norm_loops.gradient(x, grad, real, scale, slope, shift, grad)
        of_leak = None if leak is None else leak.new_tensor(of_leak)
        return grad, None, None, *others, of_leak, None, None, None


def _affine_map(x: Tensor, real: Tensor | None, count: int, weight: Tensor, bias: Tensor, eps: float):
    """Mean, variance and 1 / deviation in fp64, and the norm's scale and shift in the type of x; each (C)."""
    mean, variance = _statistics(x, real, count)
    inverse = (variance + eps).rsqrt()
    scale, shift = weight * inverse, bias - mean * inverse * weight
    return mean, variance, inverse, scale.to(x.dtype), shift.to(x.dtype)


def _statistics(x: Tensor, real: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Mean and variance (C) of the real rows, in fp64."""
    if norm_loops.serve(x):
        mean, square = (total / count for total in norm_loops.sums(x, x, real))
        return mean, (square - mean.square()).clamp_(min=0)
    # Piece by piece (Chan).
    counts, means, squares, buffer = [], [], [], None
    with torch.autocast(x.device.type, enabled=False):  # sums are matrix products
        for x_, real_ in pieces(x, real.to(x.dtype)):
            buffer = torch.empty_like(x_) if buffer is None else buffer[: len(x_)]
            counts.append(real_.sum())
            means.append((real_ @ x_) / counts[-1].clamp(min=1))
            squares.append(real_ @ torch.sub(x_, means[-1], out=buffer).square_())
    each, of_piece, square = (torch.stack(parts).double() for parts in (counts, means, squares))
    mean = (each @ of_piece) / count
    return mean, (square.sum(0) + each @ (of_piece - mean).square()) / count


def _gradient_sums(x: Tensor, grad: Tensor, real: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Over the real rows: those of grad, and of grad (x - mean), each (C) fp64."""
    if norm_loops.serve(x):
        of_grad, of_product = norm_loops.sums(grad.contiguous(), x, real)
        return of_grad, of_product - mean * of_grad
    sums, center, buffer = [], mean.to(x.dtype), None
    with torch.autocast(grad.device.type, enabled=False):  # sums are matrix products
        for x_, real_, grad_ in pieces(x, real.to(x.dtype), grad):
            buffer = torch.empty_like(x_) if buffer is None else buffer[: len(x_)]
            sums.append((real_ @ grad_, real_ @ torch.sub(x_, center, out=buffer).mul_(grad_)))
    return tuple(torch.stack(parts).double().sum(0) for parts in zip(*sums, strict=True))


def _slopes(of_grad, of_product, count: int, weight, mean, inverse, dtype) -> tuple[Tensor, ...]:
    """From the sums of grad and of grad (x - mean), (C) fp64, to dL/dx = scale grad + slope x + shift.

    It is weight inverse (g - mean(g) - xhat mean(g xhat)), for xhat = (x - mean) inverse

    Returns:
        scale, slope and shift in `dtype`, and the gradients of the weight and of the bias; each (C).
    """
    grad_bias, grad_weight = of_grad, of_product * inverse
    scale = weight * inverse
    slope = -scale * inverse * grad_weight / count
    parts = (part.to(dtype) for part in (scale, slope, -scale * grad_bias / count - slope * mean))
    return *parts, grad_weight.to(weight.dtype), grad_bias.to(weight.dtype)


def _padding(real: Tensor) -> Tensor:
    """Rows that aren't real."""
    return (~real).nonzero().squeeze(1)


def pieces(*tensors: Tensor):
    """Tensors, cut along their first axis alike: on a CPU into pieces that stay in the cache.

    >>> [len(piece) for (piece,) in pieces(torch.zeros(3, 4))]
    [3]
    """
    first = tensors[0]
    rows = len(first)
    if first.device.type == "cpu":
        rows = max(1, _PIECE * torch.get_num_threads() * rows // max(1, first.numel()))
    return zip(*(tensor.split(rows) for tensor in tensors), strict=True)
