"""The batch norm's loops in C (norm.c), alone and with the neurons behind it.

Rows x (K, C) are fp32, contiguous and on a CPU. `real` (K) bool tells padding by False, which is neither
counted nor read and comes out as zero; None: there is none. A neuron is what `imlspike.neurons.kernels` makes
of its parameters.
"""

import ctypes

import torch
from torch import Tensor

from imlspike.neurons.kernels import neuron_of
from imlspike.neurons.library import library, loops_serve, place, share


def serve(x: Tensor) -> bool:
    """Whether the loops take these rows.

    >>> serve(torch.zeros(2, 3, dtype=torch.float64))
    False
    """
    return x.is_contiguous() and loops_serve(x)


def sums(x: Tensor, y: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
    """Over the real rows: those of x, and of x times y, each (C) fp64.

    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]])
    >>> real = torch.tensor([True, True, False])
    >>> [each.tolist() for each in sums(x, x, real)] if serve(x) else [[4.0, 6.0], [10.0, 20.0]]
    [[4.0, 6.0], [10.0, 20.0]]
    """
    arguments = (x.data_ptr(), y.data_ptr(), place(real), x.shape[1])

    def part(begin: int, end: int) -> Tensor:
        found = torch.zeros(2, x.shape[1], dtype=torch.float64)
        library().norm_sums(*arguments, found[0].data_ptr(), found[1].data_ptr(), begin, end)
        return found

    return sum(share(len(x), part, x.shape[1])).unbind()


def affine(x: Tensor, real: Tensor | None, scale: Tensor, shift: Tensor) -> Tensor:
    """scale x + shift, both (C) fp32."""
    y = torch.empty(x.shape)
    places = (place(scale), place(shift), place(y))
    arguments = (x.data_ptr(), place(real), x.shape[1], *places)
    share(len(x), lambda *part: library().norm_apply(*arguments, *part), x.shape[1])
    return y


def gradient(
    x: Tensor, grad: Tensor, real: Tensor | None, scale: Tensor, slope: Tensor, shift: Tensor, out: Tensor
) -> Tensor:
    """scale grad + slope x + shift, all (C) fp32, into `out`, which may be `grad`."""
    places = (place(scale), place(slope), place(shift), out.data_ptr())
    arguments = (x.data_ptr(), grad.data_ptr(), place(real), x.shape[1], *places)
    share(len(x), lambda *part: library().norm_back(*arguments, *part), x.shape[1])
    return out


def fire(
    x: Tensor, real: Tensor | None, scale: Tensor, shift: Tensor, steps: int, leak: Tensor | float, p
) -> Tensor:
    """Spikes (T K', C), from rest, of the current scale x + shift of that shape; p: `LIFParameters`."""
    spikes = torch.empty(x.shape)
    neurons = _neurons(x, real, scale, shift, steps, leak, p)

    def part(begin: int, end: int) -> None:
        if library().norm_fire(*neurons, spikes.data_ptr(), begin, end):
            raise MemoryError("the norm and its neurons found no memory")

    share(len(x) // steps, part, x.shape[1] * steps)
    return spikes


def fire_back(
    x: Tensor,
    real: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    steps: int,
    leak: Tensor | float,
    p,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor, float]:
    """From the gradient of the spikes of `fire` to that of the current.

    Returns:
        the gradient (T K', C), of no meaning at padding; over its real rows the sums of it and of it times x,
        each (C) fp64; and dL/dleak.
    """
    out = torch.empty(x.shape)
    neurons = (*_neurons(x, real, scale, shift, steps, leak, p), grad.data_ptr(), out.data_ptr())

    def part(begin: int, end: int) -> tuple[Tensor, float]:
        found = torch.zeros(2, x.shape[1], dtype=torch.float64)
        places = (found[0].data_ptr(), found[1].data_ptr())
        return found, library().norm_fire_back(*neurons, *places, begin, end)

    totals, slopes = zip(*share(len(x) // steps, part, x.shape[1] * steps), strict=True)
    return out, *sum(totals).unbind(), sum(slopes)


def _neurons(x, real, scale, shift, steps, leak, p) -> tuple:
    rows = (x.data_ptr(), place(real), len(x) // steps, x.shape[1], place(scale), place(shift))
    neuron = neuron_of(steps, leak, p)
    return *rows, steps, ctypes.byref(neuron)
