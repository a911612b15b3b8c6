"""Norms that inference doesn't pay for, since what stands beside them takes them in, exactly.

What a batch norm does in evaluation, and a layer norm at last, is y = a x + b for each channel. Where all
that reads y is of one kind,

- a batch norm behind a linear map or convolution is part of its weights and bias;
- one ahead of linear maps is part of theirs;
- ahead of an IMLS of constant threshold it is a threshold and an offset for each channel, and the offset
  goes into the neuron's first sum: s(a x + b) at theta is s(sign(a) x + b / |a|) at theta / |a|. It is the
  same ahead of a rounding to T + 1 levels, which finds its level by thresholds of each channel (three
  comparisons for up to 8 levels, as many additions as `imlspike.evaluation.energy.ROUNDING` has);
- ahead of a ReLU, a is part of the weights behind it, and the sum with b / |a| stays.

It is counted so, not run so: a model that is opened for use keeps its norms (`imlspike.layers.reproducible`).
"""

from dataclasses import dataclass, field
from math import prod

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from imlspike.layers.norm import Affine

NORMS = (nn.BatchNorm1d, nn.LayerNorm, Affine)
_MAP, _RELU = "a map", "a relu"


@dataclass
class _Norm:
    name: str
    output: Tensor  # held, so that its memory is not given to another tensor
    in_a_map: bool  # behind one
    readers: set = field(default_factory=set)  # a neuron's name, `_MAP`, `_RELU`, or None: others


class FoldedNorms:
    """The norms of one run of a network, and who reads what they put out."""

    def __init__(self):
        self._norms: dict[int, _Norm] = {}
        self._map: Tensor | None = None  # what the last map put out

    def add(self, name: str, norm: nn.Module, x: Tensor, output: Tensor) -> None:
        """A norm, one of `NORMS`, has run."""
        of_layer = isinstance(norm, nn.LayerNorm)
        if not of_layer or norm.elementwise_affine:
            behind = not of_layer and self._map is not None and _memory(x) == _memory(self._map)
            self._norms[_memory(output)] = _Norm(name, output, behind)

    def read(self, x, reader: str | None) -> None:
        """Something has read `x`: an IMLS of constant threshold, by its name; None: what takes no norm in."""
        if isinstance(x, Tensor) and (norm := self._norms.get(_memory(x))):
            norm.readers.add(reader)

    def mapped(self, x: Tensor, result: Tensor, alone: bool) -> None:
        """A map has read `x`, each token `alone`, so that a shift is the same for all."""
        self.read(x, _MAP if alone else None)
        self._map = result

    def see(self, name: str, args, result: Tensor, weights: set[int]) -> None:
        """An operation of ATen has run; `weights`: the memory of the network's parameters."""
        tensors = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
        if name in ("mm", "addmm", "convolution") and any(_memory(x) in weights for x in tensors):
            alone = name != "convolution" or prod(args[1].shape[2:]) == 1
            for x in tensors:
                self.mapped(x, result, alone)
            return
        for x in tensors:
            self.read(x, _RELU if name == "relu" else None)

    def settle(self, rows: dict) -> None:
        """Take what the norms don't cost out of the counter's `rows`, and forget them."""
        for norm in self._norms.values():
            row, size = rows[norm.name, "elementwise"], norm.output.numel()
            reader = next(iter(norm.readers)) if len(norm.readers) == 1 else None
            if norm.in_a_map or reader:
                row.multiplications -= size
                row.additions -= size * (norm.in_a_map or reader != _RELU)
            if not norm.in_a_map and reader not in (None, _MAP, _RELU):
                rows[reader, "neuron"].normed += size
        self._norms.clear()
        self._map = None


def _memory(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()
