"""Surrogate gradients: what the backward pass uses in place of the derivative of the Heaviside step.

A spiking neuron fires where its potential reaches the threshold, ``s = 1[x >= 0]`` with ``x`` the distance to
it. The derivative of that is zero almost everywhere, so training replaces it with a bump ``g'(x)`` of
sharpness ``alpha``, here ``a`` (Neftci, Mostafa and Zenke, IEEE Signal Process. Mag. 36, 2019):

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

import difflib
import math

import torch
from torch import Tensor

FORMS = {
    "sigmoid": lambda x, a: a * torch.sigmoid(a * x) * (1 - torch.sigmoid(a * x)),
    "atan": lambda x, a: (a / 2) / (1 + (math.pi / 2 * a * x).square()),
    "triangle": lambda x, a: a * torch.relu(1 - a * x.abs()),
    "rectangle": lambda x, a: a * (x.abs() < 0.5 / a).to(x.dtype),
    "fast_sigmoid": lambda x, a: 1 / (1 + a * x.abs()).square(),
    "straight_through": lambda x, a: torch.ones_like(x),
}
SHARPNESS = dict(zip(FORMS, (4.0, 2.0, 1.0, 1.0, 25.0, 1.0), strict=True))
SURROGATES = tuple(FORMS)  # the compiled forms know them by their places here


def derivative(x: Tensor, name: str, alpha: float) -> Tensor:
    """g'(x) for the distance x to the threshold; any shape, same dtype and device."""
    return FORMS[name](x, alpha)


def check_surrogate(name: str, alpha: float | None) -> None:
    """Raise ValueError for an unknown name (naming the nearest), or a sharpness that isn't above zero."""
    if name not in FORMS:
        near = difflib.get_close_matches(str(name), FORMS, n=1, cutoff=0)[0]
        raise ValueError(f"unknown surrogate gradient {name!r}; nearest: {near!r}, known: {', '.join(FORMS)}")
    if not (alpha is None or 0 < alpha < math.inf):
        raise ValueError(f"surrogate gradient {name!r}: alpha must be above zero and finite, not {alpha}")


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, name: str, alpha: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.form = name, alpha
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return grad * derivative(x, *ctx.form), None, None


def spike(x: Tensor, surrogate: str = "sigmoid", alpha: float | None = None) -> Tensor:
    """Heaviside step ``1[x >= 0]`` whose backward pass is `derivative`: by what a neuron of one's own fires.

    x is the potential minus the threshold, at which it fires too; any shape, floating point. The table's
    sharpness is taken where `alpha` is left out. ValueError: as `check_surrogate`.

    >>> spike(torch.tensor([-0.1, 0.0, 2.0]))
    tensor([0., 1., 1.])
    """
    check_surrogate(surrogate, alpha)
    return _Spike.apply(x, surrogate, SHARPNESS[surrogate] if alpha is None else float(alpha))
