"""LIF and PLIF against independent implementations: SpikingJelly and snnTorch (the extra `oracles`)."""

import pytest
import torch

from imlspike.neurons import LIF, PLIF, spike

OURS_TO_SPIKINGJELLY = {  # straight_through has no counterpart there
    "sigmoid": ("Sigmoid", 4.0),
    "atan": ("ATan", 2.0),
    "triangle": ("PiecewiseQuadratic", 1.0),
    "rectangle": ("Rect", 1.0),
}


def outputs_and_gradients(run, x, weights, parameter=None):
    x = x.clone().requires_grad_()
    spikes = run(x)
    leaves = [x] if parameter is None else [x, parameter]
    return spikes.detach(), *torch.autograd.grad((spikes * weights).sum(), leaves)


def inputs(steps=7):
    generator = torch.Generator().manual_seed(3)
    x = 2 * torch.randn(steps, 4, 25, generator=generator, dtype=torch.float64)
    return x, torch.randn(x.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("decay_input", [False, True])
@pytest.mark.parametrize("v_reset", [0.0, -0.4, None])
@pytest.mark.parametrize("surrogate", OURS_TO_SPIKINGJELLY)
@pytest.mark.parametrize("cls", [LIF, PLIF])
def test_spikingjelly(cls, surrogate, v_reset, decay_input, detach_reset):
    pytest.importorskip("spikingjelly.activation_based")
    from spikingjelly.activation_based import neuron as theirs
    from spikingjelly.activation_based import surrogate as their_surrogates

    name, alpha = OURS_TO_SPIKINGJELLY[surrogate]
    their_surrogate = getattr(their_surrogates, name)(alpha=alpha)
    reset = {"reset": "soft"} if v_reset is None else {"v_reset": v_reset}
    our = cls(
        2.5, 0.9, decay_input=decay_input, detach_reset=detach_reset, surrogate=surrogate, **reset
    ).double()
    their_class = theirs.LIFNode if cls is LIF else theirs.ParametricLIFNode
    their = their_class(2.5, decay_input, 0.9, v_reset, their_surrogate, detach_reset, step_mode="m").double()
    x, weights = inputs()
    if cls is PLIF:
        with torch.no_grad():
            our.w.copy_(their.w)
    a = outputs_and_gradients(our, x, weights, our.w if cls is PLIF else None)
    b = outputs_and_gradients(their, x, weights, their.w if cls is PLIF else None)
    assert 0 < a[0].mean() < 1
    for mine, yours in zip(a, b, strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(our.run(x)[1], their.v.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("surrogate", ["atan", "fast_sigmoid", "sigmoid"])
def test_snntorch(surrogate, reset):
    """Leaky: mem = beta mem + x, so beta = 1 - 1 / tau and the input does not decay.

    Its soft reset subtracts a second time at the next step if the potential is still above the threshold. The
    input is kept below what would lead there.
    """
    snntorch = pytest.importorskip("snntorch")
    our = LIF(4.0, reset=reset, decay_input=False, surrogate=surrogate).double()
    their = snntorch.Leaky(
        beta=0.75,
        reset_mechanism={"soft": "subtract", "hard": "zero"}[reset],
        reset_delay=False,
        spike_grad=lambda u: spike(u, surrogate),
    )
    x, weights = inputs()
    if reset == "soft":
        x = x.clamp(max=1.0)

    def run(x):
        mem, out = torch.zeros_like(x[0]), []
        for current in x:
            s, mem = their(current, mem)
            out.append(s)
        return torch.stack(out)

    a, b = outputs_and_gradients(our, x, weights), outputs_and_gradients(run, x, weights)
    assert 0 < a[0].mean() < 1 and torch.equal(a[0], b[0])
    torch.testing.assert_close(a[1], b[1], rtol=1e-9, atol=1e-9)
