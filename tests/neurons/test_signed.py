"""Signed counts of IMLS: those of both signs, and their ternary spikes."""

import pytest
import torch

from imlspike.neurons import IMLS, unfold
from imlspike.neurons.imls import THRESHOLDS


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("options", [{}, {"amplitude": "unit"}, {"window": "levels"}, {"levels": 1}])
def test_signed_counts_are_those_of_both_signs(threshold, options):
    """s(x) - s(-x) of the unsigned neuron, to the bit; the gradient is that of |x| and 1 at 0."""
    signed, plain = (IMLS(threshold=threshold, signed=sign, **options) for sign in (True, False))
    x = 3 * torch.randn(2, 5, 8)
    x[0, 0, :3] = torch.tensor([0.0, 40.0, -40.0])
    if threshold == "fixed":
        x[1, 0, :4] = torch.tensor([0.5, -0.5, 1.5, -1.5])  # ties
    x.requires_grad_()
    y, (counts, theta) = signed(x), signed.encode(x)
    assert torch.equal(y, plain(x) - plain(-x)) and counts.min() < 0
    assert torch.equal(y, counts if "amplitude" in options else counts * theta)
    top = (signed.levels + 0.5 * ("window" not in options)) * theta
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad, (x.abs() <= top) / (theta if "amplitude" in options else 1.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_signed_counts_unfold_into_ternary_spikes(dtype):
    neuron, x = IMLS(signed=True), (3 * torch.randn(5, 64)).to(dtype)
    counts, theta = neuron.encode(x)
    for coding, worth in (("unary", [1] * 6), ("bitwise", [1, 2, 4])):
        spikes = unfold(x, theta, 6, coding, signed=True)
        assert set(spikes.unique().tolist()) == {-1.0, 0.0, 1.0} and not neuron.binary
        assert torch.equal(sum(w * slot for w, slot in zip(worth, spikes, strict=True)), counts)
