"""Surrogate gradients: what the backward pass uses in place of the derivative of the Heaviside step.

A spiking neuron fires where its membrane potential reaches the threshold, ``s = 1[x >= 0]`` with ``x`` the
distance to the threshold. The derivative of that is zero almost everywhere, so training replaces it with a
bump ``g'(x)`` (Neftci, Mostafa and Zenke, IEEE Signal Process. Mag. 36, 2019). ``a`` is the sharpness
``alpha``:

================== ==================================== ========= ======================================
name               g'(x)                                default a area; source
================== ==================================== ========= ======================================
sigmoid            a sigmoid(a x) (1 - sigmoid(a x))    4         1; the reference code of Spiking Vocos
atan               (a / 2) / (1 + (pi a x / 2)^2)       2         1; Fang et al. 2021 (PLIF)
triangle           a max(0, 1 - a abs(x))               1         1; Bellec et al. 2018
rectangle          a 1[abs(x) < 1 / (2 a)]              1         1; Wu et al. 2018
fast_sigmoid       1 / (1 + a abs(x))^2                 25        2 / a; Zenke and Ganguli 2018
straight_through   1                                    1         none; Bengio et al. 2013, a is not used
================== ==================================== ========= ======================================
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable

import torch
from torch import Tensor


def _sigmoid(x: Tensor, a: float) -> Tensor:
    y = torch.mul(x, a).sigmoid_()
    return torch.addcmul(y, y, y, value=-1).mul_(a)


def _atan(x: Tensor, a: float) -> Tensor:
    return (a / 2) / (1 + (math.pi / 2 * a * x).square())


def _triangle(x: Tensor, a: float) -> Tensor:
    return a * torch.relu(1 - a * x.abs())


def _rectangle(x: Tensor, a: float) -> Tensor:
    return a * (x.abs() < 0.5 / a).to(x.dtype)


def _fast_sigmoid(x: Tensor, a: float) -> Tensor:
    return 1 / (1 + a * x.abs()).square()


def _straight_through(x: Tensor, a: float) -> Tensor:
    return torch.ones_like(x)


_FORMS: dict[str, tuple[Callable[[Tensor, float], Tensor], float]] = {
    "sigmoid": (_sigmoid, 4.0),
    "atan": (_atan, 2.0),
    "triangle": (_triangle, 1.0),
    "rectangle": (_rectangle, 1.0),
    "fast_sigmoid": (_fast_sigmoid, 25.0),
    "straight_through": (_straight_through, 1.0),
}

SURROGATES = tuple(_FORMS)
"""The names that :class:`Surrogate` knows."""


class Surrogate:
    """A surrogate derivative chosen by name; the formulas are in the table above.

    Args:
        name: one of :data:`SURROGATES`.
        alpha: sharpness, above zero; the table's default for that name when left out.

    Raises:
        ValueError: an unknown name (the error names the nearest one) or an alpha that is not above zero.

    >>> Surrogate("atan").derivative(torch.tensor([0.0, 1.0]))
    tensor([1.0000, 0.0920])
    """

    def __init__(self, name: str = "sigmoid", alpha: float | None = None) -> None:
        if name not in _FORMS:
            near = difflib.get_close_matches(str(name), _FORMS, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown surrogate gradient {name!r}{hint} (known: {', '.join(_FORMS)})")
        self._form, default = _FORMS[name]
        self.name = name
        self.alpha = default if alpha is None else float(alpha)
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"surrogate gradient {name!r}: alpha must be above zero and finite, not {alpha}")

    def derivative(self, x: Tensor) -> Tensor:
        """g'(x) for the distance ``x`` to the threshold; any shape, same dtype and device."""
        return self._form(x, self.alpha)

    def __repr__(self) -> str:
        return f"Surrogate({self.name!r}, alpha={self.alpha:g})"


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad * ctx.surrogate.derivative(x), None


def spike(x: Tensor, surrogate: Surrogate) -> Tensor:
    """Heaviside step ``1[x >= 0]`` whose backward pass is ``surrogate.derivative(x)``.

    Args:
        x: membrane potential minus threshold, any shape, floating point.
        surrogate: the derivative to use.

    Returns:
        Spikes 0 or 1 of the shape and dtype of ``x``. A potential exactly at the threshold fires.

    >>> spike(torch.tensor([-0.1, 0.0, 2.0]), Surrogate("sigmoid"))
    tensor([0., 1., 1.])
    """
    return _Spike.apply(x, surrogate)
