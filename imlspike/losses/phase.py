"""Distances between spectra with a phase: equations 6 to 11 of Spiking Vocos (arXiv 2509.13049)."""

import math

from torch import Tensor


def anti_wrap(x: Tensor) -> Tensor:
    r"""f_AW of equation 7: how far a phase difference is from the nearest multiple of 2 pi.

    .. math::
        f_{AW}(x) = |x - 2 \pi \, \mathrm{round}(x / 2 \pi)|

    The rounding is a piecewise constant and passes no gradient, so the gradient is the sign of the wrapped
    difference: +1 or -1, and 0 only at exact multiples of 2 pi. (A straight-through rounding would pass the
    gradient of x again with the opposite sign, and the sum of both is 0 everywhere.)

    Args:
        x: any shape, radians, floating point.

    Returns:
        the shape and dtype of `x`; radians in [0, pi].

    >>> import torch
    >>> x = torch.tensor([0.5, -0.5, 2 * torch.pi - 0.5, 20 * torch.pi + 0.5], requires_grad=True)
    >>> y = anti_wrap(x)
    >>> [round(value, 4) for value in y.tolist()]
    [0.5, 0.5, 0.5, 0.5]
    >>> y.sum().backward()
    >>> x.grad.tolist()
    [1.0, -1.0, -1.0, 1.0]
    """
    turns = (x.detach() / (2 * math.pi)).round()
    return (x - 2 * math.pi * turns).abs()


def phase_parts(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""L_IP, L_GD and L_PTD (equations 8 to 10): instantaneous phase, group delay, phase time difference.

    The derivatives are differences of neighbours: F - 1 of them over frequency, L - 1 over time. There is no
    term at the boundary, where a bin without a neighbour would bring the phase itself into the mean.

    Args:
        student: (B, F, L) phase, radians, wrapped or not; floating point.
        teacher: likewise. No gradient goes back to it.

    Returns:
        three scalars in [0, pi].

    Raises:
        ValueError: shapes that differ, or fewer than two frequencies or two frames (there is no difference
            to take).

    >>> import torch
    >>> phase = torch.randn(2, 9, 4)
    >>> [round(float(part), 4) for part in phase_parts(phase + 0.5, phase)]     # a turn of all by 0.5
    [0.5, 0.0, 0.0]
    """
    if student.shape != teacher.shape:
        raise ValueError(f"the phases have shapes {tuple(student.shape)} and {tuple(teacher.shape)}")
    if student.dim() < 2 or min(student.shape[-2:]) < 2:
        raise ValueError(
            f"a phase of shape {tuple(student.shape)} (.., frequencies, frames) has no neighbours to "
            "compare; at least two frequencies and two frames are needed: take longer segments"
        )
    # The difference of the derivatives is the derivative of the difference.
    difference = teacher.detach() - student
    return (
        anti_wrap(difference).mean(),
        anti_wrap(difference.diff(dim=-2)).mean(),
        anti_wrap(difference.diff(dim=-1)).mean(),
    )


def phase_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_P of equation 11: the sum of :func:`phase_parts`.

    >>> import torch
    >>> phase = torch.randn(2, 9, 4)
    >>> float(phase_loss(phase + 4 * torch.pi, phase)) < 1e-5      # whole turns are no error
    True
    """
    return sum(phase_parts(student, teacher))


def magnitude_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_M of equation 6: mean absolute difference of logarithmic magnitudes.

    Args:
        student: (B, F, L), natural logarithm of the magnitude; floating point.
        teacher: likewise. No gradient goes back to it.

    Raises:
        ValueError: shapes that differ.

    >>> import torch
    >>> float(magnitude_loss(torch.ones(1, 9, 4), torch.zeros(1, 9, 4)))
    1.0
    """
    if student.shape != teacher.shape:
        raise ValueError(f"the magnitudes have shapes {tuple(student.shape)} and {tuple(teacher.shape)}")
    return (student - teacher.detach()).abs().mean()
