"""Spike counts: against counts made by hand, against the unfolded binary spikes, and added up."""

import pytest
import torch
from torch import nn

from imlspike.evaluation.spikes import SpikeRecorder, least_current
from imlspike.neurons import IMLS, LIF, PLIF, RateCoded, unfold


def test_counts_by_hand():
    neuron = IMLS(levels=3, threshold="fixed", value=1.0)
    with SpikeRecorder(neuron) as recorder:
        neuron(torch.tensor([[-1.0, 0.4, 0.6, 2.2], [9.0, 3.0, 0.0, 1.0]]))  # 0 0 1 2 / 3 3 0 1
    row = recorder.layers[""].row()
    assert row["histogram"] == [3, 2, 1, 2]
    assert (row["neurons"], row["spikes"], row["ones"]) == (8, 10, 7)
    assert row["mean_count"] == 10 / 8
    assert row["rate"] == pytest.approx(10 / 24)
    assert (row["firing_fraction"], row["saturated_fraction"]) == (5 / 8, 2 / 8)


def test_counts_equal_the_unfolded_binary_spikes():
    neuron, x = IMLS(levels=6), torch.randn(7, 12)
    with SpikeRecorder(neuron, keep=True) as recorder:
        neuron(x)
    binary = unfold(x, neuron.encode(x)[1], 6)
    assert recorder.layers[""].spikes == int(binary.sum())
    assert torch.equal(recorder.rasters[""].float(), binary.sum(0))


def test_the_steps_of_a_plif_are_levels():
    neuron, x = PLIF(), torch.full((4, 2, 5), 10.0)  # fires at each of 4 steps
    with SpikeRecorder(neuron) as recorder:
        neuron(x)
    layer = recorder.layers[""]
    assert (layer.levels, layer.spikes, layer.histogram) == (4, 40, [0, 0, 0, 0, 10])
    assert layer.rate == 1


def test_calls_add_up_so_that_length_weighs():
    neuron, xs = IMLS(), [torch.randn(1, n, 12) for n in (60, 31)]
    layers = []
    for inputs in (xs, xs[:1], xs[1:]):
        with SpikeRecorder(neuron) as recorder:
            for x in inputs:
                neuron(x)
        layers.append(recorder.layers[""])
    both, first, second = layers
    assert both.histogram == [a + b for a, b in zip(first.histogram, second.histogram, strict=True)]


def test_a_neuron_that_does_not_fire_whole_spikes_is_named():
    class Leaky(IMLS):
        def forward(self, x, mask=None):
            return super().forward(x, mask) + 0.1

    network = nn.Sequential(nn.Identity(), Leaky())
    with pytest.raises(ValueError, match="^1: "), SpikeRecorder(network):
        network(torch.randn(3, 4))


def test_hooks_are_gone_afterwards_and_silent_neurons_are_known():
    network = nn.ModuleList([IMLS(), IMLS()])
    with SpikeRecorder(network) as recorder:
        network[0](torch.randn(3, 4))
    network[1](torch.randn(3, 4))
    assert (list(recorder.layers), recorder.silent()) == (["0"], ["1"])


@pytest.mark.parametrize(("neuron", "steps"), [(LIF(), 4), (LIF(4.0, decay_input=False), 3), (PLIF(3.0), 5)])
def test_least_current(neuron, steps):
    least = least_current(neuron, steps)
    x = torch.tensor([least * (1 - 1e-5), least * (1 + 1e-5)])
    assert RateCoded(neuron, steps)(x).tolist() == [0, 1]
