"""The compiled loops of IMLS against torch's operations."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.neurons import IMLS, imls_loops


@pytest.mark.skipif(not imls_loops.serve(torch.ones(1, 1), torch.ones(1)), reason="no compiled loops")
@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 99),
    shape=st.sampled_from([(1, 1), (3, 5, 40), (200, 131)]),
    threshold=st.sampled_from(["token", "fixed"]),
    amplitude=st.sampled_from(["theta", "unit"]),
    levels=st.integers(1, 7),
)
def test_the_loops_give_the_operations_numbers(seed, shape, threshold, amplitude, levels):
    """To the bit, at the ends of the gate too."""
    neuron = IMLS(levels, threshold, amplitude=amplitude)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    theta = neuron.theta(x)
    ends = theta * (torch.randint(-1, 2 * levels + 3, shape, generator=generator) / 2)
    x = torch.where(torch.rand(shape, generator=generator) < 0.3, ends, x)
    grad, results = torch.randn(shape, generator=generator), []
    for serve in (imls_loops.serve, lambda *_: False):
        leaf = x.clone().requires_grad_()
        with mock.patch.object(imls_loops, "serve", serve):
            y = neuron.fire(leaf, theta)
            y.backward(grad)
        results.append((y, leaf.grad))
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))
