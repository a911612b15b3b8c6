"""`SpikeLinear` against `torch.nn.Linear` in fp64: values to the rounding of weights, and gradients."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from imlspike.layers import SpikeLinear, spike_products_supported
from imlspike.layers.spike_linear import LARGEST, LEAST_TOKENS

needs_amx = pytest.mark.skipif(not spike_products_supported(), reason="this CPU has no AMX")


@pytest.fixture(params=["loops", "torch"], autouse=True)
def compiled_or_not(request, monkeypatch):
    """Every test holds with the compiled loops and without."""
    if request.param == "torch":
        without_loops(monkeypatch)


def without_loops(monkeypatch):
    """Has torch's operations do what compiled loops do elsewhere."""
    for module in ("layers.spiking_pointwise", "neurons.library"):
        monkeypatch.setattr(f"imlspike.{module}.library", lambda: None)
    monkeypatch.setattr("imlspike.layers.spike_linear.products_serve", lambda: False)


def spikes_of(*shape, rate=0.2, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


@needs_amx
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    inputs=st.integers(2, 300),
    outputs=st.integers(2, 200),
    tokens=st.integers(LEAST_TOKENS, 150),
    rate=st.sampled_from([0.0, 0.15, 1.0]),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_values_are_those_of_weights_rounded_to_16_bits(inputs, outputs, tokens, rate, bias, seed):
    torch.manual_seed(seed)
    linear, spikes = SpikeLinear(inputs, outputs, bias), spikes_of(tokens, inputs, rate=rate, seed=seed)
    wanted = nn.functional.linear(spikes.double(), linear.weight.double(), None)
    bound = spikes.sum(1, keepdim=True) * linear.weight.abs().amax(1) / LARGEST * 0.51 + 1e-5
    if bias:
        wanted = wanted + linear.bias
    with torch.no_grad():
        assert ((linear(spikes) - wanted).abs() <= bound).all()


@needs_amx
def test_a_token_alone_gives_to_the_bit_what_it_gives_in_a_batch():
    linear, spikes = SpikeLinear(96, 40), spikes_of(4, 3, 200, 96)
    whole = linear(spikes)
    assert whole.shape == (4, 3, 200, 40)
    assert torch.equal(linear(spikes[1:2, :, 50:90]), whole[1:2, :, 50:90])


@needs_amx
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_gradients_are_those_of_the_linear_map(spread):
    """Also of a token and of a channel whose gradients are many times smaller than others'."""
    torch.manual_seed(0)
    linear, spikes = SpikeLinear(128, 96), spikes_of(4, 2, 40, 128)
    exact = nn.Linear(128, 96).double()
    exact.load_state_dict(linear.state_dict())
    grad = torch.randn(4, 2, 40, 96) * (spread * torch.randn(4, 2, 40, 1)).exp()
    results = []
    for model, dtype in ((linear, torch.float32), (exact, torch.float64)):
        x = spikes.to(dtype).requires_grad_()
        results.append(torch.autograd.grad(model(x), [x, *model.parameters()], grad.to(dtype)))
    for got, wanted in zip(*results, strict=True):
        assert got.dtype == torch.float32 and got.shape == wanted.shape
        assert (got - wanted).norm() < 2e-4 * wanted.norm()
    off, size = (results[0][0] - results[1][0]).norm(dim=-1), results[1][0].norm(dim=-1)
    assert (off < 1e-3 * size).all()


@needs_amx
def test_only_what_is_asked_for_is_differentiated():
    linear, spikes = SpikeLinear(16, 8, bias=False), spikes_of(64, 16)
    linear(spikes).sum().backward()
    torch.testing.assert_close(linear.weight.grad, spikes.sum(0).expand(8, 16), rtol=1e-4, atol=1e-3)
    x = spikes.clone().requires_grad_()
    linear.requires_grad_(False)
    linear(x).sum().backward()
    torch.testing.assert_close(x.grad, linear.weight.sum(0).expand(64, 16), rtol=1e-4, atol=1e-4)


@needs_amx
def test_gradients_that_are_zero_or_not_finite_stay_so():
    linear, x = SpikeLinear(16, 8), spikes_of(64, 16).requires_grad_()
    for value in (0.0, float("nan"), float("inf")):
        grad = torch.ones(64, 8) * value
        got = torch.autograd.grad(linear(x), [x, linear.weight], grad)
        for each in got:
            assert (each == 0).all() if value == 0 else not each.isfinite().any()


@pytest.mark.parametrize(
    ("tokens", "dtype"), [(LEAST_TOKENS - 1, torch.float32), (64, torch.float64), (64, torch.bfloat16)]
)
def test_elsewhere_it_is_the_linear_map(tokens, dtype):
    linear, spikes = SpikeLinear(16, 8).to(dtype), spikes_of(tokens, 16).to(dtype)
    assert torch.equal(linear(spikes), nn.functional.linear(spikes, linear.weight, linear.bias))
    exported = torch.export.export(SpikeLinear(16, 8), (spikes_of(64, 16),))
    assert not any("qlinear" in str(node.target) for node in exported.graph.nodes)


def test_it_takes_the_place_of_a_linear_map():
    linear = nn.Linear(16, 8)
    spiking = SpikeLinear(16, 8)
    spiking.load_state_dict(linear.state_dict())
    torch.testing.assert_close(spiking(spikes_of(64, 16)), linear(spikes_of(64, 16)), rtol=1e-3, atol=1e-4)
