"""Spike counts of every neuron of a network, measured on real input.

One utterance runs at a time, so padding never counts; sums over tokens weigh each utterance by its length.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor, nn

from imlspike.neurons import Neuron

LEAST_RATE, MOST_RATE = 0.005, 0.6  # beyond these a layer is taken for dead, or for saying nothing


def spiking_neurons(module: nn.Module) -> dict[str, Neuron]:
    """The neurons inside `module` that fire spikes, by name; those that others are made of are left out.

    >>> from imlspike.neurons import IMLS, ReLU
    >>> list(spiking_neurons(nn.Sequential(nn.Linear(4, 3), IMLS(), ReLU())))
    ['1']
    """
    found: dict[str, Neuron] = {}
    for name, each in module.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(each, Neuron) and each.levels is not None and not inside:
            found[name] = each
    return found


@torch.no_grad()
def firing(
    neuron: Neuron, args: tuple, kwargs: dict, output: Tensor, name: str = "neuron"
) -> tuple[Tensor, Tensor]:
    """Spikes (0, 1, ... levels) of each element of the `output` of a call of `neuron`, and what one is worth.

    Of a signed neuron the number of spikes, whatever their sign: a negative one is an event, too. The worth
    broadcasts to the counts; of a neuron that sends the counts themselves it is the thresholds.

    Raises:
        ValueError: the output is not counts, times their worth if the neuron sends that; `name` is named.
    """
    counts, worth = neuron.encode(*args, **kwargs)
    agrees = torch.equal(counts if neuron.unit else (counts * worth).to(output.dtype), output)
    least, most = -neuron.levels * neuron.signed, neuron.levels
    whole = torch.equal(counts, counts.round()) and bool(((counts >= least) & (counts <= most)).all())
    if not (agrees and whole):
        raise ValueError(
            f"{name}: its output isn't made of {least} to {most} whole spikes; this is no spiking layer"
        )
    return counts.abs(), worth


@dataclass
class LayerSpikes:
    """Spikes of one neuron layer over everything that was run, as a histogram from which all else follows."""

    name: str  # the layer's place in the network
    levels: int  # T, spikes that a neuron can fire for one token (of a stateful one: the time steps)
    histogram: list[int]  # values that the layer produced (tokens times channels) with 0, 1, ... T spikes
    largest_input: float = float("-inf")

    @property
    def neurons(self) -> int:
        """Values that the layer produced."""
        return sum(self.histogram)

    @property
    def spikes(self) -> int:
        """Spikes that these fired: additions for a connection in unary code."""
        return sum(count * number for count, number in enumerate(self.histogram))

    @property
    def rate(self) -> float:
        """Firing rate: mean spikes of a neuron for one token over T, 0 to 1."""
        return self.spikes / self.neurons / self.levels

    def row(self) -> dict:
        """All figures, ready for a table."""
        firing = self.neurons - self.histogram[0]
        ones = sum(count.bit_count() * number for count, number in enumerate(self.histogram))
        return asdict(self) | {
            "neurons": self.neurons,
            "spikes": self.spikes,
            "ones": ones,
            "mean_count": self.spikes / self.neurons,
            "rate": self.rate,
            "firing_fraction": firing / self.neurons,
            "saturated_fraction": self.histogram[-1] / self.neurons,
        }


class SpikeRecorder:
    """Context manager that counts the spikes of every neuron inside `module` while it runs.

    Run it in evaluation mode and one utterance at a time: padding would count. ValueError at the first output
    that isn't whole spikes, with the layer's name.

    Attributes:
        keep: hold on to the counts of the last call of each layer, for a raster.
        layers: name to `LayerSpikes`, in the order in which the neurons first fired (their depth).
        rasters: with `keep`, name to the counts of its last call (uint8, on the CPU).

    >>> from imlspike.neurons import IMLS
    >>> with SpikeRecorder(nn.Sequential(nn.Linear(4, 3), IMLS(levels=2))) as recorder:
    ...     _ = recorder.module(torch.randn(5, 4))
    >>> recorder.layers["1"].neurons, recorder.layers["1"].levels
    (15, 2)
    """

    def __init__(self, module: nn.Module, keep: bool = False):
        self.module, self.keep = module, keep
        self.layers: dict[str, LayerSpikes] = {}
        self.rasters: dict[str, Tensor] = {}
        self._handles = []

    def __enter__(self) -> "SpikeRecorder":
        for name, neuron in spiking_neurons(self.module).items():
            self._handles.append(neuron.register_forward_hook(partial(self._count, name), with_kwargs=True))
        return self

    def __exit__(self, *exception) -> None:
        while self._handles:
            self._handles.pop().remove()

    def silent(self) -> list[str]:
        """Neurons of the module that no call has reached so far."""
        return [name for name in spiking_neurons(self.module) if name not in self.layers]

    def _count(self, name, neuron, args, kwargs, output):
        counts, _ = firing(neuron, args, kwargs, output, name)
        levels = neuron.levels
        if neuron.stateful:  # (T, ...): the steps' spikes are one count
            counts, levels = counts.sum(0), levels * counts.shape[0]
        layer = self.layers.setdefault(name, LayerSpikes(name, levels, [0] * (levels + 1)))
        found = torch.bincount(counts.flatten().long(), minlength=levels + 1).tolist()
        layer.histogram = [sum(both) for both in zip(layer.histogram, found, strict=True)]
        largest = float((args or tuple(kwargs.values()))[0].detach().max())
        layer.largest_input = max(layer.largest_input, largest)
        if self.keep:
            self.rasters[name] = counts.to("cpu", torch.uint8)


def least_current(neuron: nn.Module, steps: int) -> float:
    """The smallest constant current, up to 1000, with which a neuron fires within so many steps from rest.

    >>> from imlspike.neurons import LIF
    >>> round(least_current(LIF(tau=2.0), steps=4), 4)
    1.0667
    """
    low, high, like = 0.0, 1e3, next(neuron.parameters(), torch.zeros(()))
    for _ in range(60):
        middle = (low + high) / 2
        current = like.new_full((steps, 1) if neuron.stateful else (1, 1), middle, dtype=torch.float64)
        low, high = (low, middle) if neuron.encode(current)[0].any() else (middle, high)
    return high


def rates_out_of_range(layers: Mapping[str, LayerSpikes], model: nn.Module) -> dict[str, dict]:
    """Neuron layers whose firing rate lies outside 0.5 % to 60 %, and what may tell why.

    Returns:
        Layer to ``{"rate", "largest_input", "least_that_fires"}``: the largest input that it saw, and, of
        neurons with a state, the least with which one fires at all.
    """
    odd = {}
    for name, layer in layers.items():
        if not LEAST_RATE < layer.rate < MOST_RATE:
            neuron = model.get_submodule(name)
            least = least_current(neuron, layer.levels) if neuron.stateful else None
            odd[name] = {"rate": layer.rate, "largest_input": layer.largest_input, "least_that_fires": least}
    return odd
