"""Firing rates of a generator's neurons while it is validated."""

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from imlspike.neurons import Neuron


class FiringRates(ExitStack):
    """Context manager that measures how often each neuron layer of a network fires, by its place in it.

    The rate is the mean number of spikes of a neuron over the most that it could fire: its levels, in each of
    the time steps of a stateful one.

    >>> from imlspike.neurons import LIF
    >>> network = nn.Sequential(nn.Linear(4, 3), LIF())
    >>> with FiringRates(network) as firing:
    ...     _ = network(torch.full((2, 5, 4), 100.0))
    >>> rates = firing.rates(firing.sums())
    >>> list(rates), 0 <= rates["1"] <= 1
    (['1'], True)
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self._counts: dict[str, Tensor] = {}  # spikes, and how many could have been: (2,) fp64
        device = next(network.parameters()).device
        for name, module in network.named_modules():
            if isinstance(module, Neuron) and module.levels is not None:
                self._counts[name] = torch.zeros(2, dtype=torch.float64, device=device)
                hook = module.register_forward_hook(self._hook(name), with_kwargs=True)
                self.callback(hook.remove)

    def sums(self) -> Tensor:
        """Return (layers, 2) fp64, which adds up over processes: spikes, and how many could have been."""
        return torch.stack([*self._counts.values()]) if self._counts else torch.zeros(0, 2).double()

    def rates(self, sums: Tensor) -> dict[str, float]:
        """Return each layer's rate, out of what `sums` gave, added up over processes if there are several."""
        pairs = zip(self._counts, sums.tolist(), strict=True)
        return {name: spikes / possible for name, (spikes, possible) in pairs if possible}

    def _hook(self, name: str):
        @torch.no_grad()
        def count(neuron, args, kwargs, output):
            fired = output if neuron.unit else neuron.encode(*args, **kwargs)[0]
            self._counts[name][0] += fired.abs().sum(dtype=torch.float64)
            self._counts[name][1] += fired.numel() * neuron.levels

        return count
