"""The neuron's loops in C (kernels.c): the numbers of `functional`, in one pass over memory instead of many.

They are built when imlspike is installed. Where they aren't there (no compiler, a copy that isn't installed),
and for what they don't take (another device or type, more than 32 steps), `functional` uses torch's
operations. The environment variable ``IMLSPIKE_KERNELS=0`` leaves them out.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from .surrogate import SURROGATES

MOST_STEPS = 32  # that kernels.c has room for
# A neuron's T steps, or a rounded number, take nanoseconds: fewer aren't worth a second thread.
_LEAST_PER_THREAD = 1 << 14


class _Neuron(ctypes.Structure):
    _fields_ = [(name, ctypes.c_float) for name in ("leak", "keep", "threshold", "alpha")] + [
        (name, ctypes.c_int32)
        for name in ("steps", "decay_input", "soft_reset", "detach_reset", "surrogate")
    ]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled loops, or None.

    >>> library() is library()
    True
    """
    if os.environ.get("IMLSPIKE_KERNELS") == "0":
        return None
    folder, pointer, number = Path(__file__).parent, ctypes.c_void_p, ctypes.c_int64
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        file = folder / f"_kernels{suffix}"
        if file.is_file():
            found = ctypes.CDLL(str(file))
            neuron = [pointer, number, number, ctypes.POINTER(_Neuron), pointer, pointer]
            found.lif_forward.argtypes = [*neuron, pointer, number, number]
            found.lif_backward.argtypes = [*neuron, pointer, number, number]
            found.lif_backward.restype = ctypes.c_double
            found.round_rows.argtypes = [pointer, number, ctypes.c_float, pointer, pointer, number, number]
            return found
    return None


def kernels_serve(x: Tensor) -> bool:
    """Whether the loops take this current (T, N): fp32 on a CPU, up to 32 steps, neurons side by side.

    >>> kernels_serve(torch.zeros(2, 3, dtype=torch.float64))
    False
    """
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and len(x) <= MOST_STEPS
        and (x.shape[1] <= 1 or x.stride(1) == 1)
        and library() is not None
    )


def integrate(
    x: Tensor, u: Tensor | None, leak: Tensor | float, p, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """T steps of the neuron: spikes (T, N) and the last potential above rest (N).

    Args:
        x: input current (T, N), `kernels_serve`.
        u: potential above rest before the first step (N); None: zero.
        leak: 1 / tau; that of `p` plays no part.
        p: `LIFParameters`.
        out: (T, N) float32 or int8, contiguous, for the spikes; None: float32.

    >>> from imlspike.neurons.functional import DEFAULT
    >>> x = torch.tensor([[1.0], [1.5], [1.0]])
    >>> [each.flatten().tolist() for each in integrate(x, None, 0.5, DEFAULT)] if kernels_serve(x) else 0
    [[0.0, 1.0, 0.0], [0.5]]
    """
    u = x.new_zeros(x.shape[1]) if u is None else u.clone(memory_format=torch.contiguous_format)
    spikes = torch.empty(x.shape) if out is None else out
    place = spikes.data_ptr()
    floats, as_bytes = (place, None) if spikes.dtype == torch.float32 else (None, place)
    arguments = (*_current(x), _neuron(len(x), leak, p), u.data_ptr(), floats, as_bytes)
    _share(x.shape[1], lambda *part: library().lif_forward(*arguments, *part))
    return spikes, u


def back(
    x: Tensor, u: Tensor | None, grad: Tensor, grad_last: Tensor | None, leak: Tensor | float, p
) -> tuple[Tensor, float]:
    """Back-propagation through time: turns `grad`, of the spikes (T, N), into that of x, in place.

    Args:
        x, u, leak, p: as of `integrate`.
        grad: (T, N), contiguous.
        grad_last: of the last potential, (N), contiguous; None: zero.

    Returns:
        dL/du of the first potential (N), and dL/dleak.
    """
    u = x.new_zeros(x.shape[1]) if u is None else u.clone(memory_format=torch.contiguous_format)
    last = None if grad_last is None else grad_last.data_ptr()
    arguments = (*_current(x), _neuron(len(x), leak, p), u.data_ptr(), last, grad.data_ptr())
    return u, sum(_share(x.shape[1], lambda *part: library().lif_backward(*arguments, *part)))


def round_rows(x: Tensor, largest: float, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Rows of x (K, N), fp32 and contiguous, as whole multiples of a unit each; into `out`, if it's given.

    Returns:
        (K, N) int16, each number's bytes low and high for high * 256 + low, the low one signed; and the units
        (K), powers of two, of which `largest` are not less than the row's largest; NaN for a row that isn't
        finite.
    """
    whole = torch.empty(x.shape, dtype=torch.int16) if out is None else out
    units = x.new_empty(len(x))
    arguments = (x.data_ptr(), x.shape[1], largest, whole.data_ptr(), units.data_ptr())
    _share(len(x), lambda *part: library().round_rows(*arguments, *part), x.shape[1])
    return whole, units


def _current(x: Tensor) -> tuple[int, int, int]:
    return x.data_ptr(), x.stride(0), x.shape[1]


def _neuron(steps: int, leak: Tensor | float, p) -> _Neuron:
    """What C needs to know; 1 - leak in the precision in which torch would take it."""
    numbers = (float(leak), float(1 - leak), p.threshold - p.rest, p.surrogate.alpha)
    options = (p.decay_input, p.v_reset is None, p.detach_reset, SURROGATES.index(p.surrogate.name))
    return _Neuron(*numbers, steps, *options)


def _share(count: int, call: Callable[[int, int], float | None], weight: int = 1) -> list:
    """`call` on the parts of range(count), as many as torch has threads, side by side; what they returned."""
    threads = max(1, min(torch.get_num_threads(), count * weight // _LEAST_PER_THREAD))
    cuts = [count * part // threads for part in range(threads + 1)]
    parts = list(zip(cuts, cuts[1:], strict=False))
    if threads == 1:
        return [call(*parts[0])]
    others = [_pool(os.getpid()).submit(call, *part) for part in parts[1:]]
    return [call(*parts[0]), *(other.result() for other in others)]


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """This process's: threads don't live on in a fork."""
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "imlspike-kernels")
