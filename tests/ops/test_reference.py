"""The definitions against independent forms: autograd through `LIF.step`, finite differences, plain torch."""

import itertools

import pytest
import torch

from imlspike.neurons import LIF, SURROGATES
from imlspike.ops import SHARPNESS, reference

SETTINGS = list(itertools.product([True, False], [True, False], [True, False], SURROGATES))


@pytest.mark.parametrize(("decay_input", "soft", "detach", "surrogate"), SETTINGS)
def test_lif_is_its_step_differentiated_by_autograd(decay_input, soft, detach, surrogate):
    x, (u, of_u) = 2 * torch.randn(5, 40, dtype=torch.float64), torch.randn(2, 40, dtype=torch.float64)
    leak, of_spikes = torch.tensor(0.37, dtype=torch.float64, requires_grad=True), torch.randn_like(x)
    leaves = [x.requires_grad_(), u.requires_grad_(), leak]
    neuron = LIF(1 / 0.37, 0.9, "soft" if soft else "hard", 0.0, decay_input, detach, surrogate)
    neuron.leak = lambda x: leak
    state, spikes = u, []
    for current in x:
        s, state = neuron.step(current, state)
        spikes.append(s)
    spikes = torch.stack(spikes)
    settings = (leak.detach(), 0.9, decay_input, soft, detach, surrogate, SHARPNESS[surrogate])
    got = reference.lif(x.detach(), u.detach(), *settings)
    assert torch.equal(got[0], spikes) and torch.equal(got[1], state) and 0 < spikes.mean() < 1
    wanted = torch.autograd.grad([spikes, state], leaves, [of_spikes, of_u])
    gradients = reference.lif_backward(of_spikes, of_u, x.detach(), u.detach(), *settings)
    for mine, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(mine, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("decay_input", "soft"), itertools.product([True, False], [True, False]))
def test_potentials_have_the_slope_of_finite_differences(decay_input, soft):
    """With a surrogate that is 0 but at the threshold itself the gradient is the true one, of tau too."""

    def last_potential(x, u, leak):
        return torch.ops.imlspike.lif(x, u, leak, 1.0, decay_input, soft, False, "rectangle", 1e6)

    x, u = 2 * torch.randn(5, 30, dtype=torch.float64), torch.randn(30, dtype=torch.float64)
    leaves = [x, u, torch.tensor(0.37, dtype=torch.float64)]
    assert 0 < last_potential(*leaves)[0].mean() < 1
    assert torch.autograd.gradcheck(last_potential, [each.requires_grad_() for each in leaves])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_counts_round_to_the_nearest_and_ties_go_up(dtype):
    """Also of the number below 1/2, to which adding 1/2 gives 1 in the dtype."""
    half = torch.tensor([0.5, 1.5, 2.5], dtype=dtype)
    x = torch.cat([torch.nextafter(half, half - 1), half])
    theta = torch.ones((), dtype=dtype)
    assert reference.imls(x, theta, 6, False)[0].tolist() == [0, 1, 2, 1, 2, 3]
    assert torch.ops.imlspike.imls(x, theta, 6, False)[0].tolist() == [0, 1, 2, 1, 2, 3]


def test_eight_bits_are_the_nearest():
    theta = torch.rand(1000, dtype=torch.float64) + 1e-3
    mantissa, exponent = torch.frexp(theta)
    wanted = torch.ldexp((mantissa * 256).round() / 256, exponent)
    torch.testing.assert_close(reference.eight_bits(theta), wanted, rtol=0, atol=0)


def test_eight_bits_let_gradients_through():
    theta = torch.rand(5, requires_grad=True)
    torch.ops.imlspike.eight_bits(theta).backward(torch.arange(5.0))
    assert theta.grad.tolist() == [0, 1, 2, 3, 4]
