"""Surrogate gradients: what the backward pass uses in place of the derivative of the Heaviside step.

A spiking neuron fires where its membrane potential reaches the threshold, ``s = 1[x >= 0]`` with ``x`` the distance
to the threshold. The derivative of that is zero almost everywhere, so training replaces it with a bump ``g'(x)``
(Neftci, Mostafa and Zenke, IEEE Signal Process. Mag. 36, 2019). ``a`` is the sharpness ``alpha``:

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
SHARPNESS = {
    "sigmoid": 4.0, "atan": 2.0, "triangle": 1.0, "rectangle": 1.0, "fast_sigmoid": 25.0, "straight_through": 1.0,
}  # fmt: skip
SURROGATES = tuple(FORMS)
"""The names of the surrogate gradients; the compiled forms know them by their place in this order."""


def derivative(x: Tensor, name: str, alpha: float) -> Tensor:
    """g'(x) for the distance x to the threshold; any shape, same dtype and device.

    >>> derivative(torch.tensor([0.0, 1.0]), "atan", 2.0)
    tensor([1.0000, 0.0920])
    """
    return FORMS[name](x, alpha)
