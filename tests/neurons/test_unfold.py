"""`unfold`: binary spikes that sum to the counts without exception, as an integrate-and-fire neuron fires."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imlspike.neurons import IMLS, unfold
from imlspike.neurons.imls import THRESHOLDS

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def check(x, neuron):
    counts, theta = neuron.encode(x)
    spikes = unfold(x, theta, neuron.levels)
    assert spikes.shape == (neuron.levels, *x.shape) and spikes.dtype == x.dtype and spikes.device == x.device
    assert ((spikes == 0) | (spikes == 1)).all()
    assert torch.equal(spikes.sum(0), counts)
    assert (spikes[1:] <= spikes[:-1]).all()  # a constant input that is exhausted: the ones come first
    bits = unfold(x, theta, neuron.levels, coding="bitwise")
    assert bits.shape == (math.ceil(math.log2(neuron.levels + 1)), *x.shape) and bits.dtype == x.dtype
    assert ((bits == 0) | (bits == 1)).all()
    assert torch.equal(sum(2**k * slot for k, slot in enumerate(bits)), counts)
    return counts, theta, spikes


def around_boundaries(theta, levels, dtype):
    """Every (k + 1/2) theta and k theta in the dtype, with the representable numbers on both sides."""
    multiples = torch.arange(-2 * levels - 4, 2 * levels + 5, dtype=torch.float64) / 2
    x = (multiples * theta).to(dtype)
    up, down = torch.tensor(float("inf"), dtype=dtype), torch.tensor(float("-inf"), dtype=dtype)
    return torch.cat([x, torch.nextafter(x, up), torch.nextafter(x, down)])


@settings(max_examples=150, deadline=None)
@given(
    mantissa=st.integers(128, 255),
    exponent=st.integers(-14, 8),
    levels=st.sampled_from([1, 2, 4, 6, 8, 31]),
    dtype=st.sampled_from(DTYPES),
)
@example(mantissa=128, exponent=0, levels=6, dtype=torch.float32)
@example(mantissa=255, exponent=-14, levels=6, dtype=torch.float32)
def test_at_every_boundary_the_spikes_are_those_of_exact_arithmetic(mantissa, exponent, levels, dtype):
    value = mantissa / 128 * 2.0**exponent
    x = around_boundaries(value, levels, dtype)
    counts, theta, spikes = check(x, IMLS(levels, "fixed", value=value))
    assert theta.item() == value
    exact = Fraction(value)
    for number, count, train in zip(x.tolist(), counts.tolist(), spikes.T.tolist(), strict=True):
        potential = (
            Fraction(number) + exact / 2
        )  # integrate-and-fire in fractions, as the specification has it
        fired = []
        for _ in range(levels):
            fired.append(float(potential >= exact))
            potential -= exact * int(fired[-1])
        assert train == fired and sum(fired) == count


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([1e-30, 1e-6, 1e-3, 1.0, 30.0, 1e3]),
    dtype=st.sampled_from(DTYPES),
    threshold=st.sampled_from(THRESHOLDS),
    levels=st.sampled_from([1, 3, 6, 16]),
    kappa=st.sampled_from([0.1, 0.45, 0.8]),
)
def test_random_tensors(seed, scale, dtype, threshold, levels, kappa):
    x = scale * torch.randn(2, 5, 33, generator=torch.Generator().manual_seed(seed))
    check(x.to(dtype), IMLS(levels, threshold, kappa))


@settings(max_examples=150, deadline=None)
@given(
    numbers=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=12),
    threshold=st.sampled_from(THRESHOLDS),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)
@example(numbers=[0.0, -0.0], threshold="token", dtype=torch.float32)
@example(numbers=[1e-45, -1e-45, 1e-39], threshold="token", dtype=torch.float32)
@example(numbers=[1e-45, 2.0**100], threshold="layer", dtype=torch.float32)
def test_any_finite_numbers(numbers, threshold, dtype):
    check(torch.tensor([[numbers]], dtype=dtype), IMLS(threshold=threshold))


@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes_under_a_fixed_threshold(dtype):
    big, small = torch.finfo(dtype).max, torch.finfo(dtype).smallest_normal
    least = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps  # the least denormal
    x = torch.tensor([big, -big, small, -small, least, 0.0, -0.0, float("inf"), float("-inf")], dtype=dtype)
    counts, _, _ = check(x, IMLS(threshold="fixed", value=0.3))
    assert counts.tolist() == [6, 0, 0, 0, 0, 0, 0, 6, 0]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), levels=st.integers(1, 40), coding=st.sampled_from(["unary", "bitwise"]))
def test_a_linear_map_over_the_slots_is_that_over_the_counts(seed, levels, coding):
    """With weights of 8 bits, of which sums are exact."""
    generator = torch.Generator().manual_seed(seed)
    x, neuron = 4 * torch.randn(3, 17, generator=generator), IMLS(levels, kappa=0.2)
    weight = torch.randint(-127, 128, (5, 17), generator=generator).float()
    counts, theta = neuron.encode(x)
    slots = unfold(x, theta, levels, coding) @ weight.T
    worth = 2.0 ** torch.arange(len(slots)) if coding == "bitwise" else torch.ones(len(slots))
    assert torch.equal((worth[:, None, None] * slots).sum(0), counts @ weight.T)


def test_an_unknown_coding_is_named():
    with pytest.raises(ValueError, match="ternary"):
        unfold(torch.ones(2), torch.ones(()), 3, "ternary")
