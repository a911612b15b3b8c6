"""Sums that come out the same in any order, and encoders that fire the same spikes however they are run."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from imlspike.layers import DecayAttention, hierarchical_decay
from imlspike.layers.reproducible import make_exact, make_reproducible
from tests.models.small import FEATURES, small_encoder

MAPS = {
    "linear": (nn.Linear(300, 40), 6.0, 1.0),
    "no bias": (nn.Linear(300, 40, bias=False), 1.0, 1.0),
    "features": (nn.Linear(240, 40), 32.0, 1 / 16),
}


@pytest.mark.parametrize("name", MAPS)
def test_no_order_of_a_sum_changes_a_bit(name):
    layer, largest, step = MAPS[name]
    with torch.no_grad():
        for parameter in layer.parameters():  # each output has a grid of its own
            parameter.mul_(torch.logspace(-6, 3, 40).view(-1, *[1] * (parameter.dim() - 1)))
        layer.weight[::2].abs_()  # of one sign: as large as a sum can be
        before = layer.weight.clone()
        inputs = (torch.rand(500, layer.in_features) * (largest / step + 1)).floor() * step
        inputs[0] = largest
        off = (make_exact(layer, largest, step).weight - before).abs() / before.abs().amax(1, keepdim=True)
        assert 0 < off.max() < layer.in_features * largest / step * 2.0**-22
        expected = layer.double()(inputs.double())
        layer.float()
        for order in (torch.arange(layer.in_features), *map(torch.randperm, [layer.in_features] * 3)):
            sums = torch.zeros(500, 40)
            for channel in order.tolist():  # one after the other, each sum rounded to fp32
                sums += inputs[:, channel, None] * layer.weight[:, channel]
            sums = sums if layer.bias is None else sums + layer.bias
            assert torch.equal(sums.double(), expected)


def test_both_forms_of_attention_give_the_same_bits():
    q, k, v = torch.randn(3, 1, 4, 300, 16)
    forms = [DecayAttention(hierarchical_decay(3, 6, 4), mode=mode) for mode in ("quadratic", "chunked")]
    assert not torch.equal(*(attention(q, k, v) for attention in forms))
    for attention in forms:
        attention.wide = True
    assert torch.equal(*(attention(q, k, v) for attention in forms))


@pytest.mark.parametrize("options", [{}, dict(conv_kernel=5, rep_kernel=3, qk="both", threshold="token")])
def test_neither_padding_nor_threads_nor_chunks_change_a_bit(options):
    encoder = small_encoder(dtype=torch.float32, output_size=32, linear_units=64, **options)
    make_reproducible(encoder.reparameterize())
    xs = [(torch.randn(frames, FEATURES) * 16).round() / 16 for frames in (300, 200, 90)]
    with torch.no_grad():
        alone = [encoder(x[None], torch.tensor([len(x)]))[0][0] for x in xs]
        threads = torch.get_num_threads()
        torch.set_num_threads(3 - min(threads, 2))
        try:
            together, lengths, _ = encoder(pad_sequence(xs, batch_first=True), torch.tensor([*map(len, xs)]))
            for block in encoder.blocks:
                block.attention.attention.mode = "chunked"
            pieces = [encoder(x[None])[0][0] for x in xs]
        finally:
            torch.set_num_threads(threads)
    for one, row, other, length in zip(alone, together, pieces, lengths.tolist(), strict=True):
        assert torch.equal(one, row[:length]) and torch.equal(one, other)
