"""STSA: its axis, its heads, its gate; against its formula written as loops."""

import pytest
import torch

from imlspike.evaluation.spikes import SpikeRecorder
from imlspike.layers import Layout
from imlspike.layers.over_time import blank
from imlspike.layers.stsa import STSA, HeadNorm, SoftmaxAttention
from imlspike.neurons import IMLS, LIF

AXES = ("temporal", "sequential")


def spiking(axis, heads=2, channels=8, seed=0, dtype=torch.float64, neuron=LIF, lively=1.0):
    """An STSA in evaluation, its norms not at their start; `lively` makes its Q, K and V fire more."""
    torch.manual_seed(seed)
    attention = STSA(channels, heads, axis, neuron).to(dtype)
    for name, parameter in attention.named_parameters():
        if "norm" in name:
            parameter.data += 0.3 * torch.randn_like(parameter)
    attention.qkv.linear["norm"].bias.data += lively
    attention.qkv.linear["norm"].momentum = 0.5
    for _ in range(6):
        attention(*inputs([12, 9], channels=channels, dtype=dtype))
    return attention.eval()


def inputs(lengths, channels=8, steps=4, padding=2, dtype=torch.float64):
    x = 2 * torch.randn(len(lengths), max(lengths) + padding, channels, dtype=dtype)
    x = x + 0.5 * torch.randn(steps, *x.shape, dtype=dtype)
    layout = Layout(torch.tensor(lengths), x.shape[2])
    return blank(x, layout), layout


def by_loops(attention, x, lengths):
    """The formula of the class, an utterance, a step and a token at a time; (T, B, N, C)."""
    neuron, heads = attention.neuron, attention.gate_norm.heads

    def fire(currents):  # (T, C), along T
        spikes, state = [], None
        for current in currents:
            s, state = neuron.step(current, state)
            spikes.append(s)
        return torch.stack(spikes)

    out = torch.zeros_like(x)
    for b, n in enumerate(lengths):
        q, k, v = [], [], []
        for i in range(n):
            currents = attention.qkv(fire(x[:, b, i]))
            for parts, part in zip((q, k, v), currents.chunk(3, -1), strict=True):
                parts.append(fire(part))
        kv = torch.stack([a * c for a, c in zip(k, v, strict=True)])  # (N, T, C)
        for i in range(n):
            mixed = kv[i].mean(0).expand(len(x), -1) if attention.axis == "temporal" else kv.mean(0)
            normed = []
            for current in mixed:
                parts = [(h - h.mean()) / (h.var(unbiased=False) + 1e-6).sqrt() for h in current.chunk(heads)]
                normed.append(torch.cat(parts) * attention.gate_norm.weight + attention.gate_norm.bias)
            out[:, b, i] = attention.out(q[i] * fire(normed))
    return out


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_it_is_its_formula(axis, heads):
    attention = spiking(axis, heads)
    x, layout = inputs([6, 4])
    want = by_loops(attention, x, [6, 4])
    got = attention(x, layout) * layout.mask[..., None]
    assert len(want.unique()) > 20
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("axis", AXES)
def test_neurons_run_along_t_not_along_the_text(axis):
    """Defect 1 of the reference. Tokens in another order come out in that order and otherwise the same."""
    attention = spiking(axis)
    x, layout = inputs([11], padding=0)
    order = torch.randperm(11)
    want, got = attention(x, layout)[:, :, order], attention(x[:, :, order], layout)
    torch.testing.assert_close(got, want)
    shuffled = attention(x[torch.tensor([1, 0, 3, 2])], layout)
    assert not torch.allclose(shuffled[torch.tensor([1, 0, 3, 2])], attention(x, layout))


def test_only_temporal_mixing_sees_future_steps_and_only_sequential_mixing_other_tokens():
    x, layout = inputs([9], padding=0)
    later, other = x.clone(), x.clone()
    later[3:] += 3
    other[:, :, 5:] += 3
    for axis in AXES:
        attention = spiking(axis)
        out = attention(x, layout)
        sees_later = not torch.equal(attention(later, layout)[:3], out[:3])
        sees_others = not torch.equal(attention(other, layout)[:, :, :5], out[:, :, :5])
        assert (sees_later, sees_others) == ((True, False) if axis == "temporal" else (False, True))


def test_half_precision_holds_a_padded_mean_of_many_counts():
    """Of products up to 16 over 6,000 tokens, whose sum is more than fp16 has."""
    k = torch.full((1, 2, 6000, 8), 4.0, dtype=torch.float16)
    layout = Layout(torch.tensor([6000, 5000]), 6000)
    assert (STSA(8, 2, "sequential", LIF).mix(k, k, layout) == 16).all()


@pytest.mark.parametrize("axis", AXES)
def test_heads_matter(axis):
    """Defect 2 of the reference: the same weights with other heads are another function."""
    outputs = []
    for heads in (1, 2, 4):
        attention = STSA(32, heads, axis, LIF).double().eval()
        attention.load_state_dict(spiking(axis, channels=32).state_dict())
        torch.manual_seed(1)
        outputs.append(attention(*inputs([12], 32)))
    assert not any(torch.allclose(a, b) for a, b in zip(outputs, outputs[1:], strict=False))


def test_a_head_does_not_see_another_ones_channels():
    norm = HeadNorm(8, heads=2)
    x = torch.randn(3, 8)
    changed = x.clone()
    changed[:, 4:] += torch.randn(3, 4)
    assert torch.equal(norm(x)[:, :4], norm(changed)[:, :4])
    assert not torch.allclose(norm(x)[:, 4:], norm(changed)[:, 4:])


def test_the_norm_makes_a_sum_and_a_mean_the_same_current():
    norm, x = HeadNorm(8, heads=2), 1 + torch.randn(5, 8)
    torch.testing.assert_close(norm(800 * x), norm(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("neuron", [LIF, IMLS])
def test_the_gate_does_not_fire_more_in_longer_sequences(neuron):
    """Defect 3 of the reference: on the bare sum it saturates. (Steps differ little, as in SpikeVoice.)"""
    attention = spiking("sequential", 2, 256, dtype=torch.float32, neuron=neuron, lively=0.0)
    rates, bare, steps = [], [], 4 if neuron is LIF else 1
    attention.gate_norm.register_forward_hook(lambda module, args, output: sums.append(args[0]))
    for length in (10, 100, 800):
        sums = []
        with SpikeRecorder(attention) as recorder, torch.no_grad():
            for _ in range(4):
                x = 2 * torch.randn(length, 256) + 0.2 * torch.randn(steps, 1, length, 256)
                attention(x, Layout(torch.tensor([length]), length))
        rates.append(recorder.layers["gate_neuron"].rate)
        bare.append(torch.cat([LIF()(length * mean) for mean in sums]).mean().item())
    assert 0.05 < min(rates) and rates[2] < 1.2 * rates[0] and max(rates) < 0.3
    assert bare[0] < bare[2] and bare[1] <= bare[2] and bare[2] > 0.85


@pytest.mark.parametrize("axis", AXES)
def test_alone_is_in_a_padded_batch(axis):
    attention = spiking(axis)
    x, layout = inputs([12, 5, 1])
    x = x + 4 * ~layout.mask[..., None]  # no token sees padding, whatever is there
    together = attention(x, layout)
    for b, n in enumerate([12, 5, 1]):
        alone = attention(x[:, b : b + 1, :n], Layout(torch.tensor([n]), n))
        torch.testing.assert_close(alone[:, 0], together[:, b, :n])


def test_the_softmax_attention_is_its_formula():
    attention = SoftmaxAttention(8, 2, dropout=0.3).eval()
    x, layout = inputs([7, 4], steps=3, dtype=torch.float32)
    got = attention(x, layout)
    for t in range(3):
        for b, n in enumerate([7, 4]):
            q, k, v = attention.qkv(x[t, b, :n]).chunk(3, -1)
            heads = [(q[:, h] @ k[:, h].T / 2.0).softmax(-1) @ v[:, h] for h in (slice(0, 4), slice(4, 8))]
            torch.testing.assert_close(got[t, b, :n], attention.out(torch.cat(heads, -1)))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="3 and 8"):
        STSA(8, 3, "temporal", LIF)
    with pytest.raises(ValueError, match="3 and 8"):
        SoftmaxAttention(8, 3, 0.0)
    with pytest.raises(ValueError, match="temporal, sequential.*'time'"):
        STSA(8, 2, "time", LIF)
