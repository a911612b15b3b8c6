"""The neurons' operators in ONNX, for `torch.onnx.export`; `imlspike.ops.reference` is their definition.

`imlspike_export::spikes` and `::integer_product` are those of `imlspike.export.integers`.
"""

from collections.abc import Callable

import torch
from onnxscript import opset18 as op

from imlspike.export import integers  # noqa: F401  (defines the operators)
from imlspike.ops.reference import BELOW_HALF

BOOL, FLOAT, INT64, UINT8 = 9, 1, 7, 2  # ONNX's numbers of types
SPLITTER = 2.0**16 + 1  # Veltkamp's: leaves 8 of fp32's 24 bits


def eight_bits(theta):
    """Round to eight bits without bfloat16, which not every build of onnxruntime has."""
    scaled = op.Mul(theta, SPLITTER)
    return op.Sub(scaled, op.Sub(scaled, theta))


def imls(x, theta, levels: int, scaled: bool):
    """Spike counts, times theta if `scaled`; and the gradient's gate, which nothing uses here."""
    counts = op.Clip(op.Floor(op.Add(op.Div(x, theta), BELOW_HALF[torch.float32])), 0.0, float(levels))
    return op.Mul(counts, theta) if scaled else counts, op.Cast(counts, to=BOOL)


def lif(x, u, leak, threshold: float, decay_input: bool, soft_reset: bool, *_):
    """T steps, written out one after the other."""
    spikes = []
    kept = op.Sub(1.0, leak)
    for t in range(int(x.shape[0])):
        current = op.Squeeze(op.Slice(x, [t], [t + 1], [0]), [0])
        h = op.Add(op.Mul(kept, u), current)
        if decay_input:
            h = op.Add(u, op.Mul(leak, op.Sub(current, u)))
        s = op.Cast(op.GreaterOrEqual(h, threshold), to=FLOAT)
        u = op.Sub(h, op.Mul(threshold if soft_reset else h, s))
        spikes.append(op.Unsqueeze(s, [0]))
    return op.Concat(*spikes, axis=0), u


def spikes(x, theta, levels: int):
    """Counts as uint8: quantization by theta, at most `levels`."""
    return op.Min(op.QuantizeLinear(x, theta, _zero()), _zero(levels))


def integer_product(counts, weight):
    """(..., C_in) uint8 times (C_in, C_out) int8, in int32."""
    return op.MatMulInteger(counts, weight)


def searchsorted(ends, numbers, right: bool = False, **_):
    """(B, N) sorted and (B, L) -> (B, L): how many of the former are less, or with `right` no more."""
    reached = (op.LessOrEqual if right else op.Less)(op.Unsqueeze(ends, [1]), op.Unsqueeze(numbers, [2]))
    return op.ReduceSum(op.Cast(reached, to=INT64), [2], keepdims=0)


def _zero(value: int = 0):
    return op.Cast(op.Constant(value_int=value), to=UINT8)


def translations() -> dict[Callable, Callable]:
    """The table that `torch.onnx.export` takes as its `custom_translation_table`."""
    own, integer = torch.ops.imlspike, torch.ops.imlspike_export
    return {
        own.eight_bits.default: eight_bits,
        own.imls.default: imls,
        own.lif.default: lif,
        torch.ops.aten.searchsorted.Tensor: searchsorted,
        integer.spikes.default: spikes,
        integer.integer_product.default: integer_product,
    }
