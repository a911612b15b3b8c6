"""Spiking neurons: the protocol, the registry, and IMLS, LIF, PLIF. They need torch and `imlspike.ops`."""

from imlspike.neurons.base import NEURONS, Neuron, RateCoded, ReLU, register
from imlspike.neurons.imls import IMLS, unfold
from imlspike.neurons.lif import LIF, PLIF
from imlspike.ops.surrogate import SURROGATES, spike

__all__ = [
    "IMLS", "LIF", "NEURONS", "PLIF", "SURROGATES", "Neuron", "RateCoded", "ReLU", "register", "spike",
    "unfold",
]  # fmt: skip
