"""The temporal shift against equations 13 and 14 written as loops; gradients; what it leaves alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.layers import TemporalShift


def equations(x, alpha):
    """Equations 13 and 14 of Spiking Vocos, element by element, for x (T, N, C)."""
    steps, rows, channels = x.shape
    first, last = channels // 4, channels - channels // 4
    y = torch.zeros_like(x)
    for t in range(steps):
        for c in range(channels):
            source = t + 1 if c < first else t if c < last else t - 1
            shifted = x[source, :, c] if 0 <= source < steps else torch.zeros(rows)
            y[t, :, c] = alpha * shifted + x[t, :, c]
    return y


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    steps=st.integers(1, 5),
    channels=st.integers(4, 13),
    alpha=st.sampled_from([0.0, 0.5, 1.0, -0.3]),
    learnable=st.booleans(),
)
def test_it_is_the_equations(seed, steps, channels, alpha, learnable):
    torch.manual_seed(seed)
    x = torch.randn(steps, 2, channels, dtype=torch.float64)
    before = x.clone()
    got = TemporalShift(channels, alpha, learnable).double()(x)
    torch.testing.assert_close(got, equations(x, alpha), rtol=1e-6, atol=1e-6)
    assert torch.equal(x, before)


def test_steps_that_are_copies_of_one_are_taken_as_they_are():
    """A tensor that is expanded over T shares its memory among the steps."""
    x, shift = torch.randn(1, 3, 8), TemporalShift(8)
    assert torch.equal(shift(x.expand(4, 3, 8)), shift(x.repeat(4, 1, 1)))
    torch.testing.assert_close(shift(x.expand(4, 3, 8)), equations(x.repeat(4, 1, 1), 0.5))


@pytest.mark.parametrize("learnable", [True, False])
def test_gradients_are_those_of_the_equations(learnable):
    shift = TemporalShift(5, 0.7, learnable).double()
    x = torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True)
    weights, leaves = torch.randn_like(x), [x, *shift.parameters()]
    assert len(leaves) == 1 + learnable
    both = [torch.autograd.grad((y * weights).sum(), leaves) for y in (shift(x), equations(x, shift.alpha))]
    for got, want in zip(*both, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_fewer_than_four_channels_are_refused():
    with pytest.raises(ValueError, match="at least 4, got 3"):
        TemporalShift(3)
