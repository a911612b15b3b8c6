"""Integer maps of spike counts: exact sums, a known rounding of the weights, and nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from imlspike.layers import IntegerConv2d, IntegerLinear
from imlspike.layers.integer import LARGEST, fits, use_integers
from imlspike.neurons import IMLS

SIZES = dict(rows=st.integers(1, 20), inputs=st.integers(2, 70), outputs=st.integers(1, 40))


def rounded(integer):
    """The weights (C_out, C_in) that an integer map works with, in fp64."""
    high, low = integer.planes.double().chunk(2)
    return (256 * high + low) * integer.scale.double()[:, None]


@given(**SIZES, levels=st.sampled_from([1, 6, 127]), seed=st.integers(0, 1000), bias=st.booleans())
@settings(max_examples=40, deadline=None)
def test_it_is_the_linear_map_of_the_rounded_weights(rows, inputs, outputs, levels, seed, bias):
    torch.manual_seed(seed)
    linear = nn.Linear(inputs, outputs, bias=bias)
    integer = IntegerLinear(linear, levels)
    counts = torch.randint(0, levels + 1, (rows, inputs))
    want = counts.double() @ rounded(integer).T + (linear.bias.double() if bias else 0)
    got = integer(counts.to(torch.int8))
    assert got.dtype == torch.float32
    # Nothing but the last conversion to fp32 and its scaling is rounded.
    bound = 3e-7 * (counts.double() @ rounded(integer).abs().T + want.abs() + 1)
    assert ((got - want).abs() <= bound).all()


@given(inputs=st.integers(2, 50), outputs=st.integers(1, 20), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_no_weight_moves_by_more_than_half_a_step(inputs, outputs, seed):
    torch.manual_seed(seed)
    linear = nn.Linear(inputs, outputs)
    linear.weight.data *= torch.logspace(-6, 6, outputs)[:, None]
    integer = IntegerLinear(linear, 6)
    step = linear.weight.double().abs().amax(1, keepdim=True) / LARGEST
    assert ((rounded(integer) - linear.weight.double()).abs() <= 0.5001 * step).all()
    assert torch.equal(integer.planes.to(torch.int16).clamp(-128, 127), integer.planes.to(torch.int16))


def test_rows_of_zeros_stay_zero():
    linear = nn.Linear(5, 2)
    linear.weight.data[0] = 0
    out = IntegerLinear(linear, 6)(torch.full((3, 5), 6, dtype=torch.int8))
    assert torch.equal(out[:, 0], linear.bias[0].expand(3))


def test_the_largest_sum_does_not_overflow():
    inputs = 2**31 // (127 * LARGEST) - 1
    assert fits(inputs, 127) and not fits(inputs + 2, 127)
    linear = nn.Linear(inputs, 1, bias=False).double()
    linear.weight.data.fill_(1.0)
    assert IntegerLinear(linear, 127)(torch.full((1, inputs), 127, dtype=torch.int8)).item() == pytest.approx(
        127 * inputs, rel=1e-12
    )
    with pytest.raises(ValueError, match="overflow 32 bits"):
        IntegerLinear(nn.Linear(inputs + 2, 1), 127)
    for inputs, levels in ((2, 128), (1, 6)):
        with pytest.raises(ValueError, match="keep this map in floating point"):
            IntegerLinear(nn.Linear(inputs, 1), levels)


@pytest.mark.parametrize("kernel, stride", [(3, 2), (5, 3), (1, 1)])
def test_a_convolution_is_that_of_the_rounded_weights(kernel, stride):
    conv = nn.Conv2d(3, 4, kernel, stride).double()
    integer = IntegerConv2d(conv, 6)
    counts = torch.randint(0, 7, (2, 11, 9, 3))
    weight = rounded(integer).unflatten(1, (kernel, kernel, 3)).permute(0, 3, 1, 2)
    want = nn.functional.conv2d(counts.double().permute(0, 3, 1, 2), weight, conv.bias, stride)
    got = integer(counts.to(torch.int8))
    assert torch.allclose(got, want.permute(0, 2, 3, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [dict(padding=1), dict(groups=2), dict(dilation=2), dict(stride=(1, 2))])
def test_other_convolutions_are_refused(options):
    with pytest.raises(ValueError, match="square kernel without padding"):
        IntegerConv2d(nn.Conv2d(2, 2, 3, **options), 6)


def test_spikes_worth_theta_and_sums_too_large_are_left_alone():
    for neuron, inputs in ((IMLS(amplitude="theta"), 4), (IMLS(amplitude="unit", levels=127), 600)):
        network = nn.Sequential(nn.Linear(inputs, 2))
        assert not use_integers(neuron, network, "0")
        assert type(network[0]) is nn.Linear and neuron.count_dtype is None


def test_a_neuron_fires_bytes_only_where_no_gradient_is_taken():
    neuron = IMLS(amplitude="unit")
    x = torch.randn(5, 30, requires_grad=True)
    with torch.no_grad():
        floats = neuron(x)
    neuron.count_dtype = torch.int8
    with torch.no_grad():
        fired = neuron(x)
    assert fired.dtype == torch.int8 and torch.equal(fired.float(), floats)
    assert neuron(x).dtype == torch.float32 and neuron(x).requires_grad
