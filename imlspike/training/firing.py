"""Firing rates of a generator's neurons while it is validated."""

import torch
from torch import Tensor, nn

from imlspike.neurons import Neuron


class FiringRates:
    """Context manager that measures how often each neuron layer of a network fires.

    The rate is the mean number of spikes of a neuron over the most that it could fire: its levels, in each of
        the
    time steps of a stateful one.

    Args:
        network: any module; its layers are named by their place in it.

    >>> from imlspike.neurons import LIF
    >>> network = nn.Sequential(nn.Linear(4, 3), LIF())
    >>> with FiringRates(network) as firing:
    ...     _ = network(torch.full((2, 5, 4), 100.0))
    >>> rates = firing.rates(firing.sums().tolist())
    >>> list(rates), 0 <= rates["1"] <= 1
    (['1'], True)
    """

    def __init__(self, network: nn.Module):
        self._layers = [
            (name, module)
            for name, module in network.named_modules()
            if isinstance(module, Neuron) and module.levels is not None
        ]
        self._device = next(network.parameters()).device
        self._spikes = {name: [] for name, _ in self._layers}
        self._possible = dict.fromkeys(self._spikes, 0)
        self._handles = []

    def __enter__(self) -> "FiringRates":
        for name, neuron in self._layers:
            self._handles.append(neuron.register_forward_hook(self._hook(name), with_kwargs=True))
        return self

    def __exit__(self, *exception) -> None:
        while self._handles:
            self._handles.pop().remove()

    def sums(self) -> Tensor:
        """Spikes of each layer, then how many each could have fired: float64 that adds up over processes."""
        zero = torch.zeros((), dtype=torch.float64, device=self._device)
        spikes = [sum(counts, zero) for counts in self._spikes.values()]
        possible = [zero + count for count in self._possible.values()]
        return torch.stack(spikes + possible) if spikes else zero.new_zeros(0)

    def rates(self, sums: list[float]) -> dict[str, float]:
        """Layer to rate, out of what `sums` gave (added up over processes, if there are several)."""
        half = len(self._layers)
        pairs = zip(self._spikes, sums[:half], sums[half:], strict=True)
        return {name: spikes / possible for name, spikes, possible in pairs if possible}

    def _hook(self, name: str):
        @torch.no_grad()
        def count(neuron, args, kwargs, output):
            fired = output if neuron.unit else neuron.encode(*args, **kwargs)[0]
            self._spikes[name].append(fired.sum(dtype=torch.float64))
            self._possible[name] += fired.numel() * neuron.levels

        return count
