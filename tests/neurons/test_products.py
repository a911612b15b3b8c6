"""Integer products of the compiled loops against whole numbers in double precision, which is exact here."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.layers.spike_linear import LARGEST, GradientMap, SpikeMap, round_tokens
from imlspike.neurons import kernels

pytestmark = pytest.mark.skipif(not kernels.products_serve(), reason="no AMX, or the loops weren't compiled")
sizes = {
    "tokens": st.sampled_from([1, 15, 16, 17, 31, 32, 33, 100]),
    "inputs": st.sampled_from([2, 63, 64, 65, 128, 200]),
    "outputs": st.sampled_from([2, 15, 16, 17, 50]),
    "seed": st.integers(0, 99),
}


def rounded(weight, dim):
    units = (weight.abs().amax(dim, keepdim=True) / LARGEST).clamp(min=1e-38)
    return (weight / units).round().double(), units.double()


@settings(max_examples=60)
@given(bias=st.booleans(), **sizes)
def test_products_of_bytes(tokens, inputs, outputs, seed, bias):
    torch.manual_seed(seed)
    x, weight = torch.randint(-3, 100, (tokens, inputs), dtype=torch.int8), torch.randn(outputs, inputs)
    weight[0] = 0.0
    shift = torch.randn(outputs) if bias else None
    whole, units = rounded(weight, 1)
    wanted = (x.double() @ whole.t()) * units[:, 0] + (shift if bias else 0)
    got = kernels.multiply(x, kernels.pack_weights(weight, 1, LARGEST), shift)
    # Sums with low and with high bytes are rounded each.
    assert ((got - wanted).abs() <= 3e-7 * (x.double().abs() @ whole.abs().t() * units[:, 0] + 4)).all()


@settings(max_examples=60)
@given(**sizes)
def test_products_of_16_bit_numbers(tokens, inputs, outputs, seed):
    torch.manual_seed(seed)
    grad, weight = torch.randn(tokens, inputs), torch.randn(inputs, outputs)
    planes, unit = round_tokens(grad)
    low, high = planes.double().chunk(2, 1)
    whole, units = rounded(weight, 0)
    low_weight = (whole + 128).remainder(256) - 128  # its product with the low bytes is left out
    wanted = ((high * 256 + low) @ whole - low @ low_weight) * units * unit[:, None]
    got = kernels.multiply(planes, kernels.pack_weights(weight, 0, LARGEST), units=unit)
    scale = (high * 256 + low).abs() @ whole.abs() * units * unit[:, None]
    assert ((got - wanted).abs() <= 1e-6 * scale).all()


@settings(max_examples=30)
@given(bias=st.booleans(), **sizes)
def test_they_are_those_of_torch(tokens, inputs, outputs, seed, bias):
    """Of spikes to the bit, of gradients to fp32's rounding."""
    torch.manual_seed(seed)
    spikes, weight = (torch.rand(tokens, inputs) < 0.3).to(torch.int8), torch.randn(outputs, inputs)
    shift, grad = torch.randn(outputs) if bias else None, round_tokens(torch.randn(tokens, outputs))
    results = []
    for loops in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("imlspike.layers.spike_linear.products_serve", lambda loops=loops: loops)
            results.append((SpikeMap(weight)(spikes, shift), GradientMap(weight)(*grad)))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-5, atol=1e-5)


def test_threads_share_the_work(monkeypatch):
    x, weight = torch.randint(0, 2, (330, 300), dtype=torch.int8), torch.randn(400, 300)
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        results.append(kernels.multiply(x, kernels.pack_weights(weight, 1, LARGEST)))
    assert torch.equal(*results)


def test_weights_that_are_not_finite_are_seen():
    weight = torch.randn(20, 64)
    weight[3, 5], weight[4, 6] = float("nan"), float("inf")
    y = kernels.multiply(torch.ones(40, 64, dtype=torch.int8), kernels.pack_weights(weight, 1, LARGEST))
    assert (~y.isfinite()).any(0).nonzero().flatten().tolist() == [3, 4]
