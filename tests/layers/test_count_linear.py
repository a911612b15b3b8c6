"""Integer products of counts are the maps of what the neurons send, to the rounding of the weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from imlspike.layers import count_linear
from imlspike.layers.count_linear import fire_and_map
from imlspike.layers.spike_linear import LARGEST, spike_products_supported
from imlspike.neurons import IMLS, PLIF


@settings(deadline=None, max_examples=40)
@given(
    levels=st.sampled_from([1, 4, 127]),
    threshold=st.sampled_from(["token", "fixed"]),
    amplitude=st.sampled_from(["theta", "unit"]),
    shape=st.sampled_from([(40,), (2, 33), (1, 3, 17)]),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_products_of_counts_are_those_of_what_is_sent(levels, threshold, amplitude, shape, bias, seed):
    torch.manual_seed(seed)
    neuron = IMLS(levels=levels, threshold=threshold, amplitude=amplitude)
    linear, x = nn.Linear(24, 10, bias), torch.randn(*shape, 24)
    with torch.no_grad():
        sent = neuron(x)
        got, exact = (
            fire_and_map(neuron, linear, x),
            nn.functional.linear(sent.double(), linear.weight.double()),
        )
    exact = exact if linear.bias is None else exact + linear.bias.double()
    unit = linear.weight.double().abs().amax(1) / LARGEST
    allowed = sent.double().sum(-1, keepdim=True) * unit + 1e-4 * exact.abs().clamp(min=1)
    assert got.shape == exact.shape and ((got - exact).abs() <= allowed).all()


@pytest.mark.skipif(not spike_products_supported(), reason="there are no integer products here")
def test_integer_products_are_for_evaluation_and_for_who_does_not_look(monkeypatch):
    calls = []
    whole = count_linear.SpikeMap
    monkeypatch.setattr(count_linear, "SpikeMap", lambda weight: calls.append(weight) or whole(weight))
    linear, x = nn.Linear(24, 10), torch.randn(50, 24)
    neuron = IMLS(levels=4)
    out = fire_and_map(neuron, linear, x)
    assert out.requires_grad and not calls
    with torch.no_grad():
        seen = []
        handle = neuron.register_forward_hook(lambda module, inputs, output: seen.append(output))
        watched = fire_and_map(neuron, linear, x)
        assert len(seen) == 1 and not calls
        handle.remove()
        torch.testing.assert_close(fire_and_map(neuron, linear, x), watched, atol=1e-3, rtol=1e-3)
        assert len(calls) == 1
        plif = PLIF()
        assert torch.equal(fire_and_map(plif, linear, x[None]), linear(plif(x[None]))) and len(calls) == 1
