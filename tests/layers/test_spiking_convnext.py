"""The spiking ConvNeXt block against its equations written as loops: values, gradients, options."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from imlspike.layers import SpikingConvNeXtBlock, TemporalShift
from imlspike.layers.spiking_convnext import SHORTCUTS
from imlspike.neurons import IMLS, LIF, PLIF
from tests.layers.test_temporal_shift import equations as shifted

NEURONS = {"plif": PLIF, "lif": LIF, "imls": lambda: IMLS(levels=4), "none": None}


def randomised(module):
    """The module in fp64 with weights so large that every neuron fires, and the gradients with them."""
    for name, parameter in module.named_parameters():
        if name.endswith("norm.weight"):
            nn.init.normal_(parameter, 2.0, 0.3)
        elif not name.endswith((".w", "alpha")):
            nn.init.normal_(parameter, 0.3, 0.6 if parameter.dim() > 1 else 0.3)
    return module.double()


def block_of(neuron, shortcut="abs", shift=None, steps=4, dim=8, seed=0):
    torch.manual_seed(seed)
    steps = steps if neuron in ("plif", "lif") else 1
    shift = None if shift is None else TemporalShift(dim, 0.5, learnable=shift == "learnable")
    return randomised(SpikingConvNeXtBlock(dim, 12, NEURONS[neuron], steps, 0.25, shortcut, shift))


def step(x):
    """Heaviside, with the gradient of sigmoid(4 x)."""
    soft = torch.sigmoid(4 * x)
    return soft + ((x >= 0).to(x) - soft).detach()


def spikes(neuron, x):
    """Equations 1 to 3 letter by letter, with V_th = 1 and V_re = 0; for IMLS its own definition."""
    if isinstance(neuron, nn.Identity):
        return x
    if isinstance(neuron, IMLS):
        theta = neuron.theta(x)
        return (x / theta + 0.5).floor().clamp(0, neuron.levels) * theta
    tau = 1 / torch.sigmoid(neuron.w) if isinstance(neuron, PLIF) else 2.0
    v, out = torch.zeros_like(x[0]), []
    for current in x:
        h = v + (current - v) / tau  # (1)
        s = step(h - 1)  # (2)
        v = h * (1 - s)  # (3)
        out.append(s)
    return torch.stack(out)


def by_hand(block, x):
    """The block for x (T, B, L, C), T time steps each worked out for itself."""
    shift, kernel = block.temporal_shift, block.dwconv.weight[:, 0]
    read = x
    if shift is not None:
        read = shifted(x.flatten(1, 2), shift.alpha).unflatten(1, x.shape[1:3])
    convolved, frames = torch.zeros_like(read) + block.dwconv.bias, x.shape[2]
    for frame in range(frames):
        for tap in range(7):
            if 0 <= frame + tap - 3 < frames:
                convolved[:, :, frame] = convolved[:, :, frame] + kernel[:, tap] * read[:, :, frame + tap - 3]
    mean, variance = convolved.mean(-1, keepdim=True), convolved.var(-1, correction=0, keepdim=True)
    z = (convolved - mean) / (variance + 1e-6).sqrt() * block.norm.weight + block.norm.bias
    wide = spikes(block.neuron1, z) @ block.pwconv1.weight.T + block.pwconv1.bias
    wide = wide * (1 + torch.erf(wide / math.sqrt(2))) / 2
    out = spikes(block.neuron2, wide) @ block.pwconv2.weight.T + block.pwconv2.bias
    out = {"abs": z.abs() * out, "signed": z * out, "off": out}[block.amplitude_shortcut]  # (4)
    return x + block.gamma * out, read


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    neuron=st.sampled_from(sorted(NEURONS)),
    shortcut=st.sampled_from(SHORTCUTS),
    shift=st.sampled_from([None, "fixed", "learnable"]),
    steps=st.integers(1, 5),
    frames=st.integers(1, 9),
)
def test_it_is_the_equations(seed, neuron, shortcut, shift, steps, frames):
    block = block_of(neuron, shortcut, shift, steps, seed=seed)
    x = torch.randn(block.steps, 2, frames, 8, dtype=torch.float64)
    with torch.no_grad():
        got, want = block(x), by_hand(block, x)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("neuron", ["plif", "lif", "none"])
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("shift", [None, "learnable"])
def test_gradients_are_those_of_the_equations(neuron, shortcut, shift):
    block = block_of(neuron, shortcut, shift)
    x = torch.randn(block.steps, 2, 6, 8, dtype=torch.float64, requires_grad=True)
    leaves = [x, *block.parameters()]
    weights, gradients, fired = torch.randn_like(x), [], []
    for module in (block.neuron1, block.neuron2):
        module.register_forward_hook(lambda module, args, out: fired.append(out.mean().item()))
    for y, _ in (block(x), by_hand(block, x)):
        gradients.append(torch.autograd.grad((y * weights).sum(), leaves))
    assert neuron == "none" or all(0.02 < rate < 0.98 for rate in fired)
    for got, want in zip(*gradients, strict=True):
        assert got.any()
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shift", [None, "fixed"])
@pytest.mark.parametrize("neuron", ["plif", "lif"])
def test_steps_that_are_alike_are_convolved_once(neuron, shift):
    """What one step stands for all gives what the copies give; without a shift its convolution runs once."""
    block, seen = block_of(neuron, shift=shift), []
    block.norm.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    x = torch.randn(1, 2, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        one, copies = block(x)[0], block(x.repeat(4, 1, 1, 1))[0]
    torch.testing.assert_close(one, copies, rtol=1e-12, atol=1e-12)
    assert one.shape == (4, 2, 6, 8) and seen == [1 if shift is None else 4, 4]
    assert not torch.equal(one[0], one[3])


def test_without_spikes_a_layer_scale_of_zero_passes_everything():
    block = SpikingConvNeXtBlock(8, 12, PLIF, 4, layer_scale=0.0)
    x = torch.randn(4, 2, 6, 8)
    assert torch.equal(block(x)[0], x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"amplitude_shortcut": "sign"}, "amplitude_shortcut must be one of abs, signed, off.*'sign'"),
        ({"kernel": 4}, "odd.*4"),
        ({"kernel": -1}, "odd.*-1"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SpikingConvNeXtBlock(8, 12, **options)
