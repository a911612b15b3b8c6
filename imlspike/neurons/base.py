"""The protocol by which layers, counters and exporters know a neuron, and the registry of names."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

NEURONS: dict[str, type["Neuron"]] = {}  # by the names that configurations give them


class Neuron(nn.Module):
    """The protocol: a module that turns currents into spikes, and says of which kind these are.

    A new neuron is a subclass with the decorator `register`, in any file that is imported. It defines
    `forward`, those attributes that differ, and `encode` if what it sends isn't whole spikes worth 1.

    Attributes:
        levels: most spikes that an element fires at once; 1: binary; None: no spikes (an ANN's activation).
        stateful: it carries a potential over T time steps: its input is (T, ...), and each call starts at
            rest. Otherwise it takes any shape in one pass.
        signed: counts may be negative, down to -`levels`; a spike of -1 is one event, as a subtraction is one
            addition.
        unit: what flows on is the counts; otherwise, counts times what `encode` says that a spike is worth.
        over_utterance: its threshold is a statistic of the whole utterance: it must be given (B, N, C) with
            the mask, not packed tokens.
        from_means: that statistic is one of tokens' means |x|, which `theta` takes in x's place; `forward`
            and `encode` take what it gives, for an utterance in pieces.

    >>> @register("half_wave")
    ... class HalfWave(Neuron):
    ...     def forward(self, x, mask=None):
    ...         return (x > 0.5).to(x.dtype)
    >>> NEURONS.pop("half_wave")().binary
    True
    """

    levels: int | None = 1
    stateful: bool = False
    signed: bool = False
    unit: bool = True
    over_utterance: bool = False
    from_means: bool = False

    @property
    def binary(self) -> bool:
        """True if what flows on is zeros and ones."""
        return self.levels == 1 and not self.signed

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The output, in the shape and dtype of the current x; that is (T, ...) for a stateful neuron.

        The mask (B, N), True = a real token, is for a neuron that is `over_utterance`.
        """
        raise NotImplementedError

    def encode(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Spike counts (whole numbers in x's shape and dtype), and what a spike is worth; no gradient."""
        with torch.no_grad():
            return self.forward(x, mask), x.new_ones(())  # without hooks, which may be what asks

    def cost(self, counts: Tensor, worth: Tensor) -> dict[str, int]:
        """Operations of the neurons themselves on a chip, for what `encode` gave (of a signed neuron the
        magnitudes).

        A stateful neuron: the leak (v - x, its product with 1 / tau, the sum), a subtraction for each spike;
        its potential is read and written ("state"). Otherwise integrate-and-fire over `levels` steps (see
        `unfold`): the first sum, a comparison for each level, a subtraction for each spike; or bit by bit
        from the highest ("bitwise_additions"): a comparison for each bit, a subtraction for each one.
        "neurons": results, one for all T steps.
        """
        elements, spikes = counts.numel(), int(counts.sum(dtype=torch.float64))
        if self.stateful:
            return _integration(elements, spikes, elements // len(counts))
        levels = self.levels or 0
        additions, ones = elements + spikes + levels * elements, int(popcount(counts).sum())
        by_bit = (1 + levels.bit_length()) * elements + ones
        cost = {"additions": additions, "bitwise_additions": by_bit, "multiplications": 0}
        return cost | {"neurons": elements}

    @classmethod
    def for_steps(cls, steps: int, **conf) -> "Neuron":
        """A neuron that fires up to `steps` times: in so many steps where it is stateful, else at once."""
        return cls(**conf)

    @classmethod
    def for_maps(cls, steps: int, **conf) -> "Neuron":
        """A neuron for feature maps (B, L, F, C) whose frames a convolution sums."""
        return cls.for_steps(steps, **conf)


def _integration(updates: int, spikes: int, neurons: int) -> dict[str, int]:
    """Cost of so many updates of a potential."""
    additions = 3 * updates + spikes
    cost = {"additions": additions, "bitwise_additions": additions, "multiplications": updates}
    return cost | {"state": 2 * updates, "neurons": neurons}


def popcount(counts: Tensor) -> Tensor:
    """Ones of each count in binary: additions for a connection when counts are sent bit by bit.

    >>> popcount(torch.tensor([0.0, 3.0, 4.0, 6.0]))
    tensor([0., 2., 1., 2.])
    """
    left, ones = counts.long(), torch.zeros_like(counts)
    while left.any():
        ones += left & 1
        left >>= 1
    return ones


def register(name: str) -> Callable[[type[Neuron]], type[Neuron]]:
    """Make a neuron a choice of every configuration (`neuron: name`); ValueError if another has the name."""

    def add(cls: type[Neuron]) -> type[Neuron]:
        known = NEURONS.get(name, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"the name {name!r} is taken by {known.__module__}.{known.__qualname__}")
        NEURONS[name] = cls
        return cls

    return add


class RateCoded(Neuron):
    """A stateful neuron where a layer has no time axis: its spikes in T steps on a constant current.

    So a binary one can stand in an IML-Spikeformer: (...) -> spikes of T steps, 0..T.

    >>> from imlspike.neurons import LIF
    >>> RateCoded(LIF(tau=2.0), steps=4)(torch.tensor([0.5, 1.2, 3.0]))
    tensor([0., 1., 4.])
    """

    def __init__(self, neuron: Neuron, steps: int):
        super().__init__()
        self.neuron, self.levels = neuron, steps

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.neuron(x.expand(self.levels, *x.shape)).sum(0)

    def cost(self, counts: Tensor, worth: Tensor) -> dict[str, int]:
        """Cost of T steps of the neuron."""
        spikes = int(counts.sum(dtype=torch.float64))
        return _integration(self.levels * counts.numel(), spikes, counts.numel())


@register("relu")
class ReLU(Neuron):
    """max(x, 0) in a neuron's place: what turns a spiking network into its ANN twin. It fires no spikes."""

    levels = None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x.relu()

    def encode(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Refused with a TypeError."""
        raise TypeError("relu fires no spikes; ask its `levels` (None) first")
