"""What cross-attention mixes, against sums written out, and what it keeps of a memory."""

from functools import partial

import pytest
import torch

from imlspike.evaluation.energy import for_beam
from imlspike.evaluation.operations import OperationCounter
from imlspike.layers import Layout
from imlspike.layers.cross_attention import SpikingCrossAttention
from imlspike.neurons import IMLS


def parts(attention, x, spikes):
    """Heads of spiking keys and values (H, N, D), and of queries, of one utterance."""
    q = attention.q(attention.neuron(attention.norm(x)))
    if attention.q_neuron is not None:
        q = attention.q_neuron(q)
    k, v = attention.k_neuron(attention.k(spikes)), attention.v_neuron(attention.v(spikes))
    return (t.unflatten(1, (attention.heads, -1)).transpose(0, 1) for t in (q, k, v))


@torch.no_grad()
@pytest.mark.parametrize("amplitude", ["unit", "theta"])
@pytest.mark.parametrize(
    ("normalisation", "spiking_query"), [("softmax", False), ("softmax", True), ("linear", False)]
)
def test_the_formula(normalisation, spiking_query, amplitude):
    neuron = partial(IMLS, amplitude=amplitude)
    attention = SpikingCrossAttention(8, 2, normalisation, spiking_query, neuron=neuron).double().eval()
    if attention.sharpness is not None:
        attention.sharpness.data = torch.tensor([0.5, 2.0]).double()
    x, spikes = torch.randn(5, 8).double(), torch.randint(0, 7, (9, 8)).double()
    q, k, v = parts(attention, x, spikes)
    want = torch.zeros(2, 5, 4).double()
    for h in range(2):
        for i in range(5):
            scores = [float(q[h, i] @ k[h, j]) for j in range(9)]
            if normalisation == "softmax":
                sharpness = 1.0 if attention.sharpness is None else float(attention.sharpness[h])
                weights = torch.tensor([s * sharpness / 4**0.5 for s in scores]).double().exp()
            else:
                weights = torch.tensor(scores).double()
            want[h, i] = sum(w / weights.sum() * v[h, j] for j, w in enumerate(weights))
    want = attention.o(attention.o_neuron(attention.o_norm(want.transpose(0, 1).flatten(1))))
    tokens, memory = Layout(torch.tensor([5]), 5), Layout(torch.tensor([9]), 9)
    got = attention(x, tokens, attention.remember(spikes, memory), None)
    torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("normalisation", ["softmax", "linear"])
def test_a_sharp_query_finds_its_key(normalisation):
    """One key spikes where the query does, the others elsewhere: all of the weight goes to it."""
    neuron = partial(IMLS, levels=6, threshold="fixed")
    attention = SpikingCrossAttention(8, 1, normalisation, neuron=neuron).eval()
    identity = torch.nn.Identity()
    attention.q = attention.k = attention.v = attention.o = attention.norm = identity
    attention.o_norm.eps = 1e-30
    spikes = 6.0 * torch.eye(8)
    layout = Layout(torch.tensor([8]), 8)
    kept = attention.remember(spikes, layout)
    mixed = attention(3.0 * torch.eye(8), layout, kept, None)
    assert torch.equal(mixed, spikes if normalisation == "linear" else mixed)
    assert torch.equal(mixed.argmax(1), torch.arange(8)) and mixed.diag().min() >= 5


def test_a_query_without_a_spike_gets_nothing_from_a_linear_attention():
    attention = SpikingCrossAttention(4, 1, "linear", neuron=partial(IMLS, threshold="fixed")).eval()
    attention.q = attention.k = attention.v = attention.o = attention.norm = torch.nn.Identity()
    layout = Layout(torch.tensor([2]), 2)
    kept = attention.remember(torch.tensor([[3.0, 0, 0, 0], [0, 2, 0, 0]]), layout)
    assert not attention(torch.tensor([[-1.0] * 4, [0, 0, 5, 0]]), layout, kept, None).any()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="heads must divide the channels, got 3 and 8"):
        SpikingCrossAttention(8, 3)
    with pytest.raises(ValueError, match="softmax.*linear.*'relu'"):
        SpikingCrossAttention(8, 2, "relu")


def test_what_is_kept_of_a_memory_is_counted_once_whatever_the_beam():
    class Step(torch.nn.Module):
        def __init__(self):
            super().__init__()
            neuron = partial(IMLS, threshold="fixed", value=0.01)  # low: all positive currents fire
            self.block = torch.nn.ModuleDict(
                {"src_attn": SpikingCrossAttention(8, 2, "linear", neuron=neuron)}
            )

        def forward(self, x, layout, spikes, memory):
            attention = self.block["src_attn"]
            return attention(x, layout, attention.remember(spikes, memory), memory.mask)

    step, one = Step().eval(), Layout(torch.tensor([5]), 5)
    with OperationCounter(step) as counter, torch.no_grad():
        step(torch.randn(5, 8), one, torch.randint(1, 7, (5, 8)).float(), one)
    rows = [row for row in counter.rows.values() if row.kind == "product"]
    assert all(row.accumulates > 0 for row in rows) and len(rows) == 2
    beam = {row.name: row.accumulates for row in for_beam(rows, 4)}
    times = {row.name: beam[row.name] / row.accumulates for row in rows}
    assert times == {"block.src_attn.sums": 1, "block.src_attn": 4}
