"""Mixed precision on the CPU: under bf16 autocast only products are rounded."""

import pytest
import torch

from imlspike.layers import DecayAttention, Layout, MaskedBatchNorm, hierarchical_decay
from imlspike.models import IMLSpikeformerEncoder
from imlspike.neurons import IMLS
from tests.models.small import batch, small_encoder

EPSILON = 2.0**-8  # of bf16


def autocast(enabled: bool = True) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_bf16_is_that_of_the_same_numbers_in_fp32(training):
    """Statistics of many large numbers would be lost in bf16; the output isn't rounded either."""
    norms = [MaskedBatchNorm(4).train(training) for _ in range(2)]
    x = (100 + torch.randn(3, 400, 4)).bfloat16()
    layout = Layout(torch.tensor([400, 10, 77]), 400)
    with autocast():
        got = norms[0](x, layout)
    want = norms[1](x.float(), layout)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    for one, other in zip(norms[0].buffers(), norms[1].buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("threshold", ["token", "channel", "layer", "fixed", "learned"])
def test_thresholds_counts_and_gates_of_a_neuron_are_those_of_fp32(threshold):
    neuron, x = IMLS(threshold=threshold), torch.randn(2, 30, 16)
    results = []
    for enabled in (False, True):
        leaf = x.clone().requires_grad_()
        with autocast(enabled):
            counts, theta = neuron.encode(leaf)
            out = neuron(leaf)
        (grad,) = torch.autograd.grad(out.sum(), leaf)
        results.append((counts, theta, out, grad))
    assert {t.dtype for t in results[1]} == {torch.float32}
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["quadratic", "chunked"])
def test_decay_and_row_sums_are_those_of_fp32_and_only_products_are_rounded(mode):
    """With gamma near 1 a bf16 decay would be off by its own distance from 1."""
    attention = DecayAttention(hierarchical_decay(11, 12, 4), mode=mode)
    q, k, v = (
        torch.randn(2, 4, 150, 8),
        torch.randint(0, 7, (2, 4, 150, 8)),
        torch.randint(0, 7, (2, 4, 150, 8)),
    )
    lengths = torch.tensor([150, 71])
    exact = attention(q.double(), k.double(), v.double(), lengths)
    with autocast():
        got = attention(q, k.float(), v.float(), lengths)
    error = (got - exact).norm() / exact.norm()
    assert 0 < error < 2 * EPSILON


# Least cosine and largest relative distance; under the fixed threshold the cosine was 0.993.
OPTIONS = [
    ({}, 0.99, 0.15),
    ({"threshold": "token"}, 0.995, 0.1),
    ({"threshold": "token", "conv_kernel": 3, "direction": "split"}, 0.995, 0.1),
    ({"threshold": "token", "amplitude": "theta"}, 0.995, 0.1),
    ({"threshold": "token", "qk": "none", "decay": "none"}, 0.995, 0.1),
    ({"qk": "none", "decay": "none"}, 0.99, 0.15),
]


def gradients(encoder, spikes, enabled: bool) -> tuple[torch.Tensor, list]:
    """The gradient of a loss and what the neurons fired; where there are `spikes`, these go on instead."""
    fired, given = [], list(spikes)

    def fire(neuron, args, out):
        fired.append(out.detach())
        return out + (given.pop(0) - out).detach() if given else out

    handles = [module.register_forward_hook(fire) for module in encoder.modules() if isinstance(module, IMLS)]
    torch.manual_seed(0)
    xs, lengths = batch([60, 41, 52], torch.float32)
    with autocast(enabled):
        ys, _, _ = encoder(xs, lengths)
    loss = (ys * torch.randn(ys.shape)).sum()
    encoder.zero_grad()
    loss.backward()
    for handle in handles:
        handle.remove()
    assert ys.dtype == torch.float32 and loss.isfinite() and len(fired) == len(spikes or fired)
    return torch.cat([parameter.grad.flatten() for parameter in encoder.parameters()]), fired


@pytest.mark.parametrize(("options", "cosine", "distance"), OPTIONS)
def test_gradients_are_near_those_of_fp32_when_the_same_spikes_are_fired(options, cosine, distance):
    """Where a rounded potential crosses a threshold another spike is fired and the network goes another way:
    no error of the gradient. So the spikes of the pass in fp32 are given to that in bf16. Gates go by the
    potentials all the same: a few open or shut."""
    encoder = small_encoder(dtype=torch.float32, output_size=16, **options).train()
    want, fired = gradients(encoder, [], False)
    got, own = gradients(encoder, fired, True)
    assert torch.nn.functional.cosine_similarity(got, want, 0) > cosine
    assert 0 < (got - want).norm() / want.norm() < distance
    same = torch.cat([(a == b).flatten() for a, b in zip(own, fired, strict=True)]).float().mean()
    assert 0.9 < same < 1 or options.get("amplitude") == "theta"


def test_products_are_in_bf16():
    encoder, dtypes = small_encoder(dtype=torch.float32), set()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            module.register_forward_hook(lambda module, args, out: dtypes.add(out.dtype))
    with autocast():
        encoder(*batch([60], torch.float32))
    assert dtypes == {torch.bfloat16}


def test_training_in_bf16_learns_as_in_fp32():
    """Both learn to tell two tones apart, from the same start; neither by chance."""
    tones = torch.randn(2, 20)
    labels = torch.tensor([0, 1] * 8)
    xs = tones[labels][:, None] + torch.randn(16, 40, 20)
    losses = {}
    for enabled in (False, True):
        torch.manual_seed(0)
        encoder = IMLSpikeformerEncoder(20, 8, 2, 12, 1, input_layer="conv2d")
        classes = torch.nn.Linear(8, 2)
        optimizer = torch.optim.Adam([*encoder.parameters(), *classes.parameters()], 0.01)
        for _ in range(20):
            with autocast(enabled):
                ys, _, _ = encoder(xs, torch.full((16,), 40))
                loss = torch.nn.functional.cross_entropy(classes(ys.mean(1)).float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[enabled] = loss.item()
    assert max(losses.values()) < 0.2, losses
