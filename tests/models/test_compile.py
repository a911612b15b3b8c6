"""Compiled models are the models: no graph break, equal outputs and gradients, with padding and without."""

from functools import partial

import pytest
import torch
import torch._dynamo

from imlspike.layers import DecayAttention, Layout, RepSSA, SpikingFeedForward, hierarchical_decay
from imlspike.models import IMLSpikeformerEncoder
from imlspike.models.spikeformer import SpikeformerBlock
from tests.models.small import batch as features
from tests.models.small_vocos import small_mel, small_vocos


@pytest.fixture(autouse=True)
def fresh_compiler():
    """With padding the number of real tokens is data."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        yield


def agree(function, compiled, args, leaves):
    """Outputs and gradients to 1e-5 of the largest."""
    results = []
    for each in (function, compiled):
        y = each(*args)
        y = y[0] if isinstance(y, tuple) else y
        loss = (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum()
        results.append((y.detach(), *torch.autograd.grad(loss, leaves, materialize_grads=True)))
    largest = max(1.0, *(each.abs().max().item() for each in results[0]))
    assert any(each.any() for each in results[0][1:])
    for want, got in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5 * largest)


def test_attention_in_chunks():
    attention = DecayAttention(hierarchical_decay(0, 2, 2), ["past", "both"], "chunked")
    compiled = torch.compile(attention, fullgraph=True, backend="aot_eager")
    q, k, v = torch.randn(3, 2, 2, 70, 4).requires_grad_().unbind()
    agree(attention, compiled, (q, k, v), (q, k, v))
    agree(attention, compiled, (q, k, v, torch.tensor([70, 11])), (q, k, v))


@pytest.mark.timeout(600)
def test_a_block_by_inductor():
    block = SpikeformerBlock(RepSSA(8, torch.tensor([0.5, 0.9])), SpikingFeedForward(8, 12))

    def run(x, lengths):
        layout = Layout(lengths, 9, 2)
        return layout.unpack(block(layout.pack(x), layout))

    args = torch.randn(2, 9, 8), torch.tensor([9, 6])
    agree(run, torch.compile(run, fullgraph=True), args, list(block.parameters()))


OPTIONS = {"conv_kernel": 3, "direction": "split", "positions": "sinusoidal"}


@pytest.mark.parametrize(("training", "options"), [(True, OPTIONS), (False, {})])
def test_the_encoder(training, options):
    """One compiled program, called without lengths, with full ones, and with others."""
    torch.manual_seed(0)
    encoder = IMLSpikeformerEncoder(20, 8, 2, 12, 1, 0.0, 0.0, **options).train(training)
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    for args in ((features([60, 60], torch.float32)[0],), features([60, 41], torch.float32)):
        agree(encoder, compiled, args, list(encoder.parameters()))
    xs, _ = args
    for lengths in ([63, 63], [30, 63])[: 0 if training else 2]:
        with torch.no_grad():
            want, got = encoder(xs, torch.tensor(lengths)), compiled(xs, torch.tensor(lengths))
        assert torch.equal(got[1], want[1])
        torch.testing.assert_close(got[0], want[0], rtol=1e-5, atol=1e-5)


def test_an_encoder_of_any_length():
    """Without a word from anybody the second length makes a program for all."""
    encoder = IMLSpikeformerEncoder(20, 8, 2, 12, 1).eval()
    compiled = torch.compile(encoder, fullgraph=True, backend="eager")
    with torch.no_grad():
        for frames in (60, 90, 300, 2500):
            xs = torch.randn(1, frames, 20)
            torch.testing.assert_close(compiled(xs)[0], encoder(xs)[0], rtol=1e-5, atol=1e-5)
    assert torch._dynamo.utils.counters["frames"]["ok"] <= 3


@pytest.mark.parametrize("variant", ["learned shift", "ann"])
def test_the_vocoder(variant):
    model = small_vocos(variant, dtype=torch.float32).train()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    agree(model, compiled, (small_mel(dtype=torch.float32),), list(model.parameters()))


def test_compiled_blocks_are_an_option(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    sizes = (20, 8, 2, 12, 1, 0.0, 0.0)
    plain, compiled = IMLSpikeformerEncoder(*sizes), IMLSpikeformerEncoder(*sizes, compile=True)
    compiled.load_state_dict(plain.state_dict())
    for batch in (features([60, 41], torch.float32), features([90, 70], torch.float32)):
        want, got = plain(*batch)[0], compiled(*batch)[0]
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
