"""Spiking neurons and surrogate gradients. Depends on torch only."""

from .imls import IMLS, unfold
from .lif import LIF, PLIF
from .surrogate import SURROGATES, Surrogate, spike

__all__ = ["IMLS", "LIF", "PLIF", "SURROGATES", "Surrogate", "spike", "unfold"]
