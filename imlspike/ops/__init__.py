"""The compiled operators: neurons, each with its definition in `reference`. They need torch only."""

from imlspike.ops.operators import COMPILED, eight_bits, imls, lif
from imlspike.ops.surrogate import SHARPNESS, SURROGATES, derivative

__all__ = ["COMPILED", "SHARPNESS", "SURROGATES", "derivative", "eight_bits", "imls", "lif"]
