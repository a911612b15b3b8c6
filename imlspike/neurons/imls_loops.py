"""The loops of IMLS in C (imls.c): the numbers of `imlspike.neurons.imls`, in one pass over memory."""

import torch
from torch import Tensor

from .library import library, loops_serve, share


def serve(x: Tensor, theta: Tensor) -> bool:
    """Whether the loops take this input: fp32 on a CPU, a threshold for each row (..., 1) or one for all.

    >>> serve(torch.zeros(3, 4), torch.ones(1, 4))
    False
    """
    each = theta.shape == (*x.shape[:-1], 1) and theta.is_contiguous()
    return x.dim() > 0 and x.is_contiguous() and (theta.numel() == 1 or each) and loops_serve(x, theta)


def fire(x: Tensor, theta: Tensor, levels: int, scaled: bool) -> tuple[Tensor, Tensor]:
    """theta s, or s, and where the gate is open (bool), both of the shape of x.

    >>> x, theta = torch.tensor([[-1.0, 0.4, 2.6, 9.0]]), torch.tensor(1.0)
    >>> fire(x, theta, 6, False)[0].tolist() if serve(x, theta) else [[0.0, 0.0, 3.0, 6.0]]
    [[0.0, 0.0, 3.0, 6.0]]
    """
    y, gate = torch.empty(x.shape), torch.empty(x.shape, dtype=torch.bool)
    arguments = (*_rows(x, theta), levels, scaled, y.data_ptr(), gate.data_ptr())
    share(_count(x), lambda *part: library().imls_forward(*arguments, *part), x.shape[-1])
    return y, gate


def back(grad: Tensor, theta: Tensor, gate: Tensor, scaled: bool) -> Tensor:
    """The gradient of x from that of what `fire` gave, contiguous."""
    out = torch.empty(grad.shape)
    arguments = (*_rows(grad, theta), scaled, gate.data_ptr(), out.data_ptr())
    share(_count(grad), lambda *part: library().imls_backward(*arguments, *part), grad.shape[-1])
    return out


def _rows(x: Tensor, theta: Tensor) -> tuple[int, int, int, int]:
    return x.data_ptr(), theta.data_ptr(), theta.numel() > 1, x.shape[-1]


def _count(x: Tensor) -> int:
    return x.numel() // max(1, x.shape[-1])
