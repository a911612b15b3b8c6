"""An encoder with integer maps is the folded encoder with rounded weights."""

import copy

import pytest
import torch
from torch import nn

from imlspike.layers import IntegerConv2d, IntegerLinear, subsampling
from imlspike.models import spikeformer
from tests.layers.test_integer import rounded
from tests.models.small import VARIANTS, batch, small_encoder

UNIT = [name for name, options in VARIANTS.items() if options.get("amplitude", "unit") == "unit"]


@pytest.fixture
def supported(monkeypatch):
    """Bytes are multiplied on every machine, if slowly."""
    monkeypatch.setattr(spikeformer, "integer_supported", lambda: True)


def with_rounded_weights(folded, integer):
    """`folded` with the weights that `integer` works with."""
    changed = copy.deepcopy(folded)
    for name, module in integer.named_modules():
        if isinstance(module, IntegerConv2d):
            conv = changed.get_submodule(name)
            conv.weight.data = (
                rounded(module).unflatten(1, (module.kernel, module.kernel, -1)).permute(0, 3, 1, 2)
            )
        elif isinstance(module, IntegerLinear):
            changed.get_submodule(name).weight.data = rounded(module)
    return changed


@pytest.mark.parametrize("name", UNIT)
@torch.no_grad()
def test_only_the_weights_are_rounded(name, supported):
    encoder = small_encoder(**VARIANTS[name])
    integer = copy.deepcopy(encoder).reparameterize(integer=True)
    folded = encoder.reparameterize()
    maps = [module for module in integer.modules() if isinstance(module, nn.Linear)]
    assert not maps, "a linear map was left in floating point"
    xs, lengths = batch([61, 40])
    want, want_lengths, _ = with_rounded_weights(folded, integer)(xs, lengths)
    got, got_lengths, _ = integer(xs, lengths)
    assert torch.equal(got_lengths, want_lengths)
    assert torch.allclose(got, want, rtol=0, atol=1e-9)


@torch.no_grad()
def test_pieces_are_the_whole(supported, monkeypatch):
    encoder = small_encoder(input_layer="conv2d8").reparameterize(integer=True)
    xs, lengths = batch([90])
    whole = encoder(xs, lengths)[0]
    monkeypatch.setattr(subsampling, "PIECE", 16)
    assert torch.allclose(encoder(xs, lengths)[0], whole, rtol=0, atol=1e-9)


@torch.no_grad()
def test_spikes_worth_theta_stay_in_floating_point(supported):
    encoder = small_encoder(amplitude="theta")
    integer = copy.deepcopy(encoder).reparameterize(integer=True)
    xs, lengths = batch([50])
    assert torch.equal(integer(xs, lengths)[0], encoder.reparameterize()(xs, lengths)[0])


def test_without_the_hardware_nothing_is_rounded(monkeypatch):
    monkeypatch.setattr(spikeformer, "integer_supported", lambda: False)
    encoder = small_encoder().reparameterize(integer=True)
    assert not any(isinstance(module, IntegerLinear) for module in encoder.modules())
