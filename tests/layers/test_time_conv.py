"""The spiking convolution over time against a plain loop; alone and in a batch, folded and unfolded."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.layers import Layout, RepConv, RepSSA, SpikingTimeConv
from imlspike.layers.rep_ssa import fire
from imlspike.neurons import IMLS
from imlspike.neurons.imls import THRESHOLDS


def trained(channels=4, **options):
    own = {key: options.pop(key) for key in ("kernel", "causal", "gain") if key in options}
    conv = SpikingTimeConv(channels, **own, neuron=partial(IMLS, **{"amplitude": "unit", **options})).double()
    for _ in range(3):
        conv(2 * torch.randn(14, channels, dtype=torch.float64) + 1, Layout(torch.tensor([9, 5]), 9))
    return conv.eval()


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    kernel=st.sampled_from([1, 3, 5, 15]),
    causal=st.booleans(),
    threshold=st.sampled_from(THRESHOLDS),
    look_ahead=st.none() | st.integers(0, 5),
)
def test_it_is_the_written_sum_within_each_utterance(seed, lengths, kernel, causal, threshold, look_ahead):
    torch.manual_seed(seed)
    conv = trained(kernel=kernel, causal=causal, threshold=threshold)
    layout = Layout(torch.tensor(lengths), max(lengths) + 2)
    layout.look_ahead, group = look_ahead, 100 if look_ahead is None else look_ahead + 1
    x = torch.randn(sum(lengths), 4, dtype=torch.float64)
    spikes = fire(conv.neuron, conv.norm(x), layout)
    assert torch.equal(spikes, spikes.round())  # whole numbers
    weight, centre = conv.conv.weight.detach()[:, 0].numpy(), kernel - 1 if causal else kernel // 2
    want = np.zeros((sum(lengths), 4))
    start = 0
    for n in lengths:
        part = spikes[start : start + n].detach().numpy()
        for i in range(n):
            for j in range(kernel):
                if 0 <= i + j - centre < min(n, (i // group + 1) * group):
                    want[start + i] += weight[:, j] * part[i + j - centre]
        start += n
    with torch.no_grad():
        want = conv.out_norm(torch.from_numpy(want))
        got = conv(x, layout)
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
        folded = copy.deepcopy(conv)
        folded.fold(), folded.fold()  # the second finds nothing to do
        assert folded.out_norm is None
        torch.testing.assert_close(folded(x, layout), got, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kernel", [0, 4, -1])
def test_an_even_kernel_is_refused(kernel):
    with pytest.raises(ValueError, match=f"odd.*{kernel}"):
        SpikingTimeConv(4, kernel)


def test_spikes_worth_a_threshold_are_refused():
    with pytest.raises(ValueError, match="worth"):
        SpikingTimeConv(4, neuron=IMLS)
    with pytest.raises(ValueError, match="worth"):
        RepSSA(4, torch.tensor([0.5, 0.9]), kernel=3)


@pytest.mark.parametrize("causal", [False, True])
def test_a_map_with_a_convolution_is_their_sum_alone_padded_and_folded(causal):
    torch.manual_seed(0)
    layer, layout = RepConv(4, 3, causal=causal).double(), Layout(torch.tensor([6, 2]), 7)
    for _ in range(3):
        layer(2 * torch.randn(8, 4, dtype=torch.float64) + 1, layout)
    layer.eval()
    x = torch.randint(0, 7, (8, 4), dtype=torch.float64)
    got = layer(x, layout)
    parts = []
    for own in (x[:6], x[6:]):  # by torch's own padding, one utterance at a time
        plain = torch.nn.functional.pad(own.T[None], (2, 0) if causal else (1, 1))
        parts.append(torch.nn.functional.conv1d(plain, layer.conv.conv.weight, groups=4)[0].T)
    want = layer.linear(x) + layer.conv.out_norm(torch.cat(parts))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    layer.fold()
    layer.fold()  # once more changes nothing
    assert isinstance(layer.linear, torch.nn.Linear) and layer.conv.out_norm is None
    torch.testing.assert_close(layer(x, layout), got, rtol=1e-10, atol=1e-10)
