"""The temporal shift of Spiking Vocos: some channels see the time step before, some the one after."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from imlspike.neurons import kernels
from imlspike.neurons.library import loops_serve


class TemporalShift(nn.Module):
    r"""Each time step takes a quarter of its channels from the next one and a quarter from the one before.

    Spiking Vocos, equations 13 and 14, for channels c of C and time steps t of T:

    .. math::
        s_{tc} &= x_{t+1,c} \ (c < C/4), \quad x_{tc} \ (C/4 \le c < 3C/4), \quad x_{t-1,c} \ (3C/4 \le c) \\
        y &= \alpha s + x

    Beyond the first and the last step there are zeros. Where C is no multiple of 4 the quarters are rounded
    down.

    Args:
        channels: C, at least 4.
        alpha: how much the shifted channels weigh.
        learnable: alpha is a parameter that starts at `alpha` (the paper's is fixed, its code's is learned).

    Forward: x (T, ..., C) -> (T, ..., C).

    Raises:
        ValueError: on fewer than four channels.

    >>> shift = TemporalShift(4, alpha=1.0)
    >>> shift(torch.tensor([[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0]]))
    tensor([[3., 2., 2., 1.],
            [2., 4., 4., 3.]])
    """

    def __init__(self, channels: int, alpha: float = 0.5, learnable: bool = False):
        super().__init__()
        if channels < 4:
            raise ValueError(f"a quarter of the channels is shifted: expected at least 4, got {channels}")
        self.quarter = channels // 4
        self.alpha = nn.Parameter(torch.tensor(float(alpha))) if learnable else float(alpha)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        alpha = self.alpha
        if loops_serve(x):
            return _Shift.apply(x, self.quarter, alpha)
        q, y = self.quarter, x.clone()
        y[:-1, ..., :q] += alpha * x[1:, ..., :q]
        y[..., q:-q] += alpha * x[..., q:-q]
        y[1:, ..., -q:] += alpha * x[:-1, ..., -q:]
        return y

    def extra_repr(self) -> str:
        learnable = isinstance(self.alpha, nn.Parameter)
        return f"alpha={self.alpha.item() if learnable else self.alpha:g}, learnable={learnable}"


class _Shift(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, quarter: int, alpha: Tensor | float) -> Tensor:
        ctx.quarter, ctx.alpha = quarter, float(alpha)
        x = x.contiguous()
        ctx.save_for_backward(x if isinstance(alpha, Tensor) else None)
        return kernels.temporal_shift(x, quarter, ctx.alpha, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (x,), grad = ctx.saved_tensors, grad.contiguous()
        grad_alpha = None
        if ctx.needs_input_grad[2]:
            q = ctx.quarter
            parts = grad[:-1, ..., :q] * x[1:, ..., :q], grad[1:, ..., -q:] * x[:-1, ..., -q:]
            grad_alpha = sum(part.sum() for part in (*parts, grad[..., q:-q] * x[..., q:-q]))
        return kernels.temporal_shift(grad, ctx.quarter, ctx.alpha, -1), None, grad_alpha
