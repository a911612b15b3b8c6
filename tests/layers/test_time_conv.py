"""The spiking convolution over time against a plain loop; alone and in a batch, folded and unfolded."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.layers import Layout, SpikingTimeConv
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
)
def test_it_is_the_written_sum_within_each_utterance(seed, lengths, kernel, causal, threshold):
    torch.manual_seed(seed)
    conv = trained(kernel=kernel, causal=causal, threshold=threshold)
    layout = Layout(torch.tensor(lengths), max(lengths) + 2)
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
                if 0 <= i + j - centre < n:
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
