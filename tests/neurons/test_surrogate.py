"""Surrogate gradients: equal to their written formula and to the slope of its primitive."""

import math

import numpy as np
import pytest
import torch

from imlspike.neurons import LIF, SURROGATES, spike
from imlspike.ops import SHARPNESS, derivative

# name: (g', primitive g or None), written in numpy from the table in the module's docstring
FORMULAS = {
    "sigmoid": (
        lambda x, a: a * np.exp(-a * x) / (1 + np.exp(-a * x)) ** 2,
        lambda x, a: 1 / (1 + np.exp(-a * x)),
    ),
    "atan": (
        lambda x, a: a / 2 / (1 + (np.pi * a * x / 2) ** 2),
        lambda x, a: np.arctan(np.pi * a * x / 2) / np.pi + 0.5,
    ),
    "triangle": (
        lambda x, a: np.where(np.abs(x) < 1 / a, a - a * a * np.abs(x), 0),
        lambda x, a: np.where(
            np.abs(x) < 1 / a, 0.5 + a * x - np.sign(x) * (a * x) ** 2 / 2, (x > 0).astype(float)
        ),
    ),
    "rectangle": (
        lambda x, a: np.where(np.abs(x) < 0.5 / a, a, 0.0),
        lambda x, a: np.clip(a * x + 0.5, 0, 1),
    ),
    "fast_sigmoid": (
        lambda x, a: (1 + a * np.abs(x)) ** -2.0,
        lambda x, a: x / (1 + a * np.abs(x)),
    ),
    "straight_through": (lambda x, a: np.ones_like(x), lambda x, a: x),
}
# Away from the kinks of triangle and rectangle at these alphas.
POINTS = np.concatenate([np.linspace(-3.03, 3.03, 200), [1e-3, -1e-3]])


@pytest.mark.parametrize("alpha", [None, 0.7, 5.0])
@pytest.mark.parametrize("name", SURROGATES)
def test_derivative_is_the_formula_and_the_slope_of_its_primitive(name, alpha):
    a = alpha or SHARPNESS[name]
    formula, primitive = FORMULAS[name]
    got = derivative(torch.from_numpy(POINTS), name, a).numpy()
    np.testing.assert_allclose(got, formula(POINTS, a), rtol=1e-12, atol=1e-15)
    h = 1e-6
    slope = (primitive(POINTS + h, a) - primitive(POINTS - h, a)) / (2 * h)
    np.testing.assert_allclose(got, slope, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("alpha", [None, 3.0])
@pytest.mark.parametrize("name", SURROGATES)
def test_spike_is_a_step_forwards_and_the_surrogate_backwards(name, alpha):
    x = torch.tensor([-math.inf, -1.0, -1e-38, -0.0, 0.0, 1e-38, 0.3, math.inf], requires_grad=True)
    s = spike(x, name, alpha)
    assert s.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    weight = torch.arange(1.0, 9.0)
    s.backward(weight)
    want = weight * derivative(x.detach(), name, alpha or SHARPNESS[name])
    torch.testing.assert_close(x.grad, want, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SURROGATES)
def test_dtype_and_shape_are_kept(name, dtype):
    x = torch.randn(2, 3, 4, dtype=dtype, requires_grad=True)
    s = spike(x, name)
    s.sum().backward()
    assert s.dtype == x.grad.dtype == dtype and s.shape == x.shape
    assert (x.grad >= 0).all() and x.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "hint"), [("sigmod", "'sigmoid'"), ("arctan", "'atan'"), ("zzz", "straight_through")]
)
def test_unknown_name_names_the_nearest(name, hint):
    with pytest.raises(ValueError, match=hint):
        spike(torch.ones(1), name)
    with pytest.raises(ValueError, match=hint):
        LIF(surrogate=name)


@pytest.mark.parametrize("alpha", [0, -1, math.nan, math.inf])
def test_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha"):
        spike(torch.ones(1), "atan", alpha)
    with pytest.raises(ValueError, match="alpha"):
        LIF(surrogate="atan", alpha=alpha)
