"""The compiled loops around the neurons of a block against torch's operations in double precision."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from imlspike.neurons import kernels, library

pytestmark = pytest.mark.skipif(library.library() is None, reason="the loops weren't compiled")


def numbers(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def close(got, wanted):
    return (got.double() - wanted).norm() <= 2e-6 * wanted.norm() + 1e-12


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(-60, 60), st.integers(0, 99))
def test_rounded_rows_are_whole_multiples_of_the_smallest_power_of_two_that_fits(rows, columns, power, seed):
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 2.0**power
    x[0] = 0.0
    whole, units = kernels.round_rows(x, 127 * 256)
    low, high = whole.chunk(2, 1)
    number = high.double() * 256 + low
    assert torch.equal(number, (x.double() / units[:, None]).round())
    for row, unit in zip(x, units.tolist(), strict=True):
        largest = max(row.abs().max().item(), 1e-30)
        assert math.log2(unit).is_integer() and unit / 2 < largest / (127 * 256) <= unit


def test_a_row_that_is_not_finite_has_no_unit():
    x = torch.ones(3, 37)
    x[0, 36], x[2, 5] = float("nan"), float("inf")
    assert kernels.round_rows(x, 32512)[1].isnan().tolist() == [True, False, True]


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 70), st.floats(-6, 6), st.integers(0, 99))
def test_a_gradient_goes_through_gelu_and_is_summed_before_it_is_rounded(rows, columns, shift, seed):
    grad, active, sums = numbers(seed, (rows, columns), (rows, columns), (columns,))
    active = active * 2 + shift
    wanted = torch.ops.aten.gelu_backward(grad.double(), active.double())
    summed = sums.double() + wanted.sum(0)
    planes, units = kernels.round_rows(grad, 32512, None, active, sums)
    assert (grad - wanted).abs().max() < 2e-6
    assert (sums - summed).abs().max() < 1e-5
    low, high = planes.chunk(2, 1)
    assert torch.equal(high.double() * 256 + low, (grad.double() / units[:, None]).round())


@settings(max_examples=60)
@given(
    shortcut=st.sampled_from(kernels.SHORTCUTS),
    steps=st.integers(1, 4),
    positions=st.integers(1, 9),
    channels=st.integers(1, 70),
    alike=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 99),
)
def test_a_branch_is_scaled_and_added_and_the_way_back(shortcut, steps, positions, channels, alike, seed):
    """Also of positions that are a part of more, and of steps that are one seen T times."""
    shape = (steps, positions, channels)
    wider = [(1 if one else steps, positions + 1, channels) for one in alike]
    x, z = (each[:, 1:] for each in numbers(seed, *wider))
    out, gamma, grad, y = numbers(seed + 1, shape, (channels,), (steps, positions + 2, channels), shape)
    z[:, 0, 0] = 0.0
    grad = grad[:, 2:]
    leaves = [each.double().requires_grad_() for each in (z.expand(shape), out, gamma)]
    amplitude = {"abs": leaves[0].abs(), "signed": leaves[0], "off": torch.ones(())}[shortcut]
    wanted = x + leaves[2] * amplitude * leaves[1]
    kernels.branch_forward(x, z, out, gamma, shortcut, y)
    assert close(y, wanted.detach())
    found = torch.autograd.grad(wanted, leaves, grad.double(), allow_unused=True)
    of_z = torch.zeros(shape) if found[0] is None else found[0]
    rounded = torch.empty(steps * positions, 2 * channels, dtype=torch.int8)
    units, sums, slope = kernels.branch_backward(z, grad, out, gamma, shortcut, 32512, rounded)
    assert close(out, of_z) and close(slope, found[2])
    assert (sums - found[1].sum((0, 1))).abs().max() < 1e-5
    low, high = rounded.chunk(2, 1)
    off = (high.double() * 256 + low) * units[:, None] - found[1].flatten(0, 1)
    assert (off.abs() <= 0.51 * units[:, None]).all()


@settings(max_examples=60)
@given(
    batch=st.integers(1, 3),
    frames=st.integers(1, 12),
    channels=st.integers(1, 150),
    half=st.integers(0, 4),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_depthwise_convolution_and_its_gradients(batch, frames, channels, half, bias, seed):
    """Also of more taps than frames."""
    taps = 2 * half + 1
    x, weight, shift, grad = numbers(
        seed, (batch, frames, channels), (taps, channels), (channels,), (batch, frames, channels)
    )
    leaves = [each.double().requires_grad_() for each in (x, weight, shift * bias)]
    kernel = leaves[1].t()[:, None]
    wanted = functional.conv1d(leaves[0].mT, kernel, leaves[2], padding=half, groups=channels).mT
    assert close(kernels.depthwise(x, weight, shift if bias else None), wanted.detach())
    found = torch.autograd.grad(wanted, leaves, grad.double())
    assert close(kernels.depthwise(grad, weight.flip(0), None), found[0])
    for got, each in zip(kernels.depthwise_weights(x, grad, taps), found[1:], strict=True):
        assert (got - each).abs().max() < 1e-5


def test_threads_share_the_work(monkeypatch):
    """The same numbers whatever the number of threads; sums to their rounding."""
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        x, weight, z, gamma, out = numbers(0, (3, 90, 500), (7, 500), (3, 90, 500), (500,), (3, 90, 500))
        sums, y, rounded = torch.zeros(500), torch.empty(3, 90, 500), torch.empty(270, 1000, dtype=torch.int8)
        exact = [kernels.depthwise(x, weight, None), *kernels.depthwise_weights(x, z, 7)]
        exact += kernels.round_rows(x.flatten(0, 1), 32512, None, z.flatten(0, 1), sums)
        kernels.branch_forward(x, z, out, gamma, "abs", y)
        units, *summed = kernels.branch_backward(z, x, out, gamma, "abs", 32512, rounded)
        results.append(([*exact, y, units, rounded, out], [sums, *summed]))
    for one, three in zip(*(each[0] for each in results), strict=True):
        assert torch.equal(one, three)
    for one, three in zip(*(each[1] for each in results), strict=True):
        torch.testing.assert_close(one, three, rtol=1e-4, atol=1e-4)
