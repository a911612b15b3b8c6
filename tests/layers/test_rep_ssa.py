"""RepSSA and the spiking feed-forward: packed tokens, the three qk modes, the merged map of one of them."""

from functools import partial

import pytest
import torch

from imlspike.layers import (
    DecayAttention,
    Layout,
    MaskedBatchNorm,
    RepSSA,
    SpikingFeedForward,
    hierarchical_decay,
)
from imlspike.layers.rep_ssa import QK, fire
from imlspike.neurons import IMLS
from imlspike.neurons.imls import THRESHOLDS


def trained_ssa(qk="key", **neuron):
    ssa = RepSSA(8, hierarchical_decay(0, 2, 2), qk, neuron=partial(IMLS, **neuron)).double()
    layout = Layout(torch.tensor([9, 5]), 9)
    for _ in range(2):
        ssa(2 * torch.randn(14, 8, dtype=torch.float64) + 1, layout)
    return ssa.eval()


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_a_neuron_on_packed_tokens_sees_utterances(threshold):
    lengths, neuron = [5, 1, 3], IMLS(threshold=threshold)
    layout = Layout(torch.tensor(lengths), 6)
    x = torch.randn(9, 4)
    alone = torch.cat([neuron(part[None])[0] for part in x.split(lengths)])
    assert torch.equal(fire(neuron, x, layout), alone)


@pytest.mark.parametrize("qk", QK)
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_alone_is_in_a_batch(qk, threshold):
    lengths = [7, 2, 5]
    ssa = trained_ssa(qk=qk, threshold=threshold)
    feed_forward = SpikingFeedForward(8, 12, neuron=partial(IMLS, threshold=threshold)).double().eval()
    x = torch.randn(14, 8, dtype=torch.float64)
    for module in (ssa, feed_forward):
        together = module(x, Layout(torch.tensor(lengths), 9))
        layouts = [Layout(torch.tensor([n]), n) for n in lengths]
        alone = [module(part, layout) for part, layout in zip(x.split(lengths), layouts, strict=True)]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-10, atol=1e-10)


def test_what_the_heads_mixed_is_normed_before_it_spikes():
    ssa, seen = trained_ssa().train(), []
    ssa.o_neuron.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    ssa(3 * torch.randn(14, 8, dtype=torch.float64), Layout(torch.tensor([14]), 14))
    current = seen[0].reshape(14, 8)
    torch.testing.assert_close(current.mean(0), torch.zeros(8, dtype=torch.float64), atol=1e-8, rtol=0)
    torch.testing.assert_close(
        current.var(0, correction=0), torch.ones(8, dtype=torch.float64), atol=1e-2, rtol=0
    )


@pytest.mark.parametrize("qk", QK)
@pytest.mark.parametrize("amplitude", ["theta", "unit"])
def test_which_operands_of_the_attention_spike(qk, amplitude, monkeypatch):
    seen = []
    plain = DecayAttention.forward
    monkeypatch.setattr(DecayAttention, "forward", lambda *args: seen.append(args[1:4]) or plain(*args))
    ssa = trained_ssa(qk=qk, amplitude=amplitude, threshold="fixed", value=0.75)
    ssa(torch.randn(14, 8, dtype=torch.float64), Layout(torch.tensor([9, 5]), 9))
    for name, operand in zip("qkv", seen[-1], strict=True):
        spikes = name == "v" or qk == "both" or (qk == "key" and name == "k")
        counts = operand / 0.75 if amplitude == "theta" else operand
        whole = torch.equal(counts, counts.round()) and counts.min() >= 0 and counts.max() <= 6
        assert bool(whole) == spikes and operand.any(), name


def test_without_neurons_on_q_and_k_their_maps_merge():
    r"""qk none: (S W_q^T + b_q)(S W_k^T + b_k)^T = S M S^T + S u 1^T + 1 (S w)^T + b_q b_k, M = W_q^T W_k."""
    ssa = trained_ssa(qk="none")
    spikes = IMLS()(torch.randn(20, 8, dtype=torch.float64))
    q, k = ssa.q(spikes), ssa.k(spikes)
    wq, wk = ssa.q.folded(), ssa.k.folded()
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        merged = wq.weight[part].T @ wk.weight[part]
        for_queries, for_keys = wq.weight[part].T @ wk.bias[part], wk.weight[part].T @ wq.bias[part]
        scores = spikes @ merged @ spikes.T + (spikes @ for_queries)[:, None] + (spikes @ for_keys)[None]
        scores = scores + wq.bias[part] @ wk.bias[part]
        torch.testing.assert_close(scores, q[:, part] @ k[:, part].T, rtol=1e-10, atol=1e-10)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="key, both, none.*'keys'"):
        RepSSA(8, torch.tensor([0.5, 0.9]), qk="keys")
    with pytest.raises(ValueError, match="3 and 8"):
        RepSSA(8, torch.ones(3))


def test_a_threshold_for_each_channel_is_in_the_norm_before_every_neuron():
    """Scales and shifts divided by thresholds give the spikes of those thresholds, at every neuron."""
    layout, counts = (
        Layout(torch.tensor([9, 5]), 9),
        partial(IMLS, threshold="fixed", value=0.25, amplitude="unit"),
    )
    ssa = RepSSA(8, hierarchical_decay(0, 2, 2), "both", neuron=counts, o_affine=True).double()
    forward = SpikingFeedForward(8, 16, neuron=counts).double()
    x = 2 * torch.randn(14, 8, dtype=torch.float64) + 1
    ssa(x, layout), forward(x, layout)
    places = [(ssa, name, f"{name}_neuron") for name in "qkv"] + [(ssa, "o_norm", "o_neuron")]
    places += [(each, "norm", "neuron") for each in (ssa, forward)] + [(forward, "expand", "hidden_neuron")]
    plain, given = [each.eval()(x, layout) for each in (ssa, forward)], []
    for module, before, name in places:
        neuron, norms = getattr(module, name), list(getattr(module, before).modules())
        norms = [each for each in norms if isinstance(each, MaskedBatchNorm)]
        theta = 2.0 ** torch.randint(-3, 0, (norms[0].num_features,), dtype=torch.float64)
        hook = partial(lambda theta, neuron, args, kwargs: (args, {"theta": theta}), theta)
        given.append((neuron.register_forward_pre_hook(hook, with_kwargs=True), norms, theta))
    wanted = [each(x, layout) for each in (ssa, forward)]
    assert not any(map(torch.equal, wanted, plain))
    for hook, norms, theta in given:
        hook.remove()
        for norm in norms:
            norm.weight.data.mul_(0.25 / theta), norm.bias.data.mul_(0.25 / theta)
    assert all(torch.equal(each(x, layout), want) for each, want in zip((ssa, forward), wanted, strict=True))
