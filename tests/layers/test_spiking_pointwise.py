"""The block's chain of neurons and maps in tiles against the same modules called one after the other."""

import pytest
import torch
from torch import nn

from imlspike.layers import SpikingConvNeXtBlock, spike_products_supported, spiking_pointwise
from imlspike.layers.spiking_convnext import SHORTCUTS
from imlspike.neurons import LIF, PLIF
from tests.layers.test_spike_linear import without_loops

pytestmark = pytest.mark.skipif(not spike_products_supported(), reason="this CPU has no AMX")
NEURONS = {
    "plif": PLIF,
    "lif": LIF,
    "soft": lambda: PLIF(reset="soft"),
    "undecayed": lambda: PLIF(decay_input=False, surrogate="atan", detach_reset=True),
}


def block_of(neuron, shortcut="abs", dim=32):
    torch.manual_seed(0)
    block = SpikingConvNeXtBlock(dim, 3 * dim, NEURONS[neuron], 4, 0.25, shortcut)
    for name, parameter in block.named_parameters():
        if name == "norm.weight":
            nn.init.normal_(parameter, 2.0, 0.3)
        elif not name.endswith(".w"):
            nn.init.normal_(parameter, 0.1, 0.5 if parameter.dim() > 1 else 0.3)
    return block


@pytest.fixture
def calls(monkeypatch):
    """How often tiles were used; a tile is 7 positions, so that the last one is smaller."""
    count, taken = [], spiking_pointwise.spiking_pointwise
    monkeypatch.setattr(spiking_pointwise, "_TILE", 7 * 4 * 96 // torch.get_num_threads())

    def counted(*args):
        count.append(len(args))
        return taken(*args)

    monkeypatch.setattr("imlspike.layers.spiking_convnext.spiking_pointwise", counted)
    return count


@pytest.mark.parametrize("neuron", sorted(NEURONS))
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("loops", [True, False])
def test_tiles_give_what_the_modules_give(neuron, shortcut, steps, loops, calls, monkeypatch):
    """Values to the bit, gradients to the rounding of products; a hook has the modules called."""
    if not loops:
        without_loops(monkeypatch)
    block = block_of(neuron, shortcut)
    x = torch.randn(steps, 2, 19, 32, requires_grad=True)
    weights, spikes, results = torch.randn(4, 2, 19, 32), [], []
    for hooked in (False, True):
        if hooked:
            block.neuron2.register_forward_hook(lambda module, args, out: spikes.append(out))
        y, read = block(x)
        results.append((y, torch.autograd.grad((y * weights).sum(), [x, *block.parameters()])))
        assert read is x and len(calls) == 1
    assert 0.05 < spikes[0].mean() < 0.95
    (y, gradients), (wanted, others) = results
    assert torch.equal(y, wanted)
    for got, other in zip(gradients, others, strict=True):
        assert other.any() and got.shape == other.shape
        # A leak's is a sum of which little is left.
        assert (got - other).norm() < 3e-4 * other.norm() + (0.01 if got.dim() == 0 else 0)
    with torch.no_grad():
        block.neuron2._forward_hooks.clear()
        assert torch.equal(block(x)[0], wanted) and len(calls) == 2


def test_gradients_are_those_of_double_precision(calls):
    """A spike that rounding turns over would change much: by the seed there is none."""
    block = block_of("plif")
    x, weights = torch.randn(4, 2, 19, 32), torch.randn(4, 2, 19, 32)
    exact = SpikingConvNeXtBlock(32, 96, PLIF, 4).double()
    exact.load_state_dict(block.state_dict())
    results = []
    for each in (block, exact):
        leaf = x.to(each.gamma.dtype).requires_grad_()
        y = each(leaf)[0]
        results.append([y, *torch.autograd.grad((y * weights).sum(), [leaf, *each.parameters()])])
    assert len(calls) == 1
    for got, wanted in zip(*results, strict=True):
        assert (got - wanted).norm() < 1e-3 * wanted.norm()


def test_elsewhere_the_modules_are_called(calls):
    block, x = block_of("plif"), torch.randn(4, 2, 19, 32)
    block.double()(x.double())
    block.float()(x[:, :1, :7])  # 28 tokens
    block.act = nn.ReLU()
    block(x)
    with torch.autocast("cpu", torch.bfloat16):
        block_of("plif")(x)
    assert not calls
    block_of("plif")(x)
    assert calls
