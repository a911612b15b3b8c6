"""Loops in C (kernels.c, block.c, products.c): what torch's operations do, in fewer passes over memory.

Whether they can be used at all: `imlspike.neurons.library`.
"""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from .library import enough, library, loops_serve, place, share, threads
from .surrogate import SURROGATES

MOST_STEPS = 32  # that kernels.c has room for
MOST_TAPS = 63  # that block.c has room for
SHORTCUTS = ("abs", "signed", "off")  # as block.c counts them


class _Neuron(ctypes.Structure):
    _fields_ = [(name, ctypes.c_float) for name in ("leak", "keep", "threshold", "alpha")] + [
        (name, ctypes.c_int32) for name in ("steps", "decay_input", "soft_reset", "detach_reset", "surrogate")
    ]


def kernels_serve(x: Tensor) -> bool:
    """Whether the loops take this current (T, N): fp32 on a CPU, up to 32 steps, neurons side by side.

    >>> kernels_serve(torch.zeros(2, 3, dtype=torch.float64))
    False
    """
    return len(x) <= MOST_STEPS and (x.shape[1] <= 1 or x.stride(1) == 1) and loops_serve(x)


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
    neuron = ctypes.byref(neuron_of(len(x), leak, p))
    arguments = (*_current(x), neuron, u.data_ptr(), floats, as_bytes)
    library().lif_forward_shared(*arguments, threads(x.shape[1]))
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
    neuron = ctypes.byref(neuron_of(len(x), leak, p))
    arguments = (*_current(x), neuron, u.data_ptr(), last, grad.data_ptr())
    return u, library().lif_backward_shared(*arguments, threads(x.shape[1]))


def round_rows(
    x: Tensor,
    largest: float,
    out: Tensor | None = None,
    active: Tensor | None = None,
    sums: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rows of x (K, N), fp32 and contiguous, as whole multiples of a unit each.

    Args:
        x: what is rounded; or, with `active`, the gradient of its GELU, which becomes that of `active`.
        largest: of the whole numbers.
        out: int8 (K, 2 N) for the bytes; None: a new one.
        active: (K, N), contiguous, or None.
        sums: (N), to which the column sums of what is rounded are added, or None.

    Returns:
        (K, 2 N) int8: each row's low bytes, then its high ones, for high * 256 + low; and the units (K),
        powers of two, of which `largest` are not less than the row's largest; NaN for one that isn't finite.
    """
    rows, columns = x.shape
    out = torch.empty(rows, 2 * columns, dtype=torch.int8) if out is None else out
    units = x.new_empty(rows)
    shares = threads(rows, columns)
    parts = None if sums is None else x.new_zeros(shares, columns)
    numbers = (place(active), columns, largest, out.data_ptr(), units.data_ptr(), place(parts))
    library().round_rows(x.data_ptr(), *numbers, rows, shares)
    if sums is not None:
        sums += parts.sum(0)
    return out, units


def branch_forward(x: Tensor, z: Tensor, out: Tensor, gamma: Tensor, shortcut: str, y: Tensor) -> None:
    """y = x + gamma amplitude(z) out, where the amplitude is one of `SHORTCUTS` (|z|, z, 1).

    Args:
        x, z: (T, P, C), or (1, P, C) for all steps; the positions P side by side.
        out: (T, P, C), contiguous.
        gamma: (C).
        shortcut: see above.
        y: (T, P, C), filled; its positions side by side.
    """
    steps, positions, channels = y.shape
    branch = (out.data_ptr(), gamma.data_ptr(), SHORTCUTS.index(shortcut))
    arguments = (*_steps(x, steps), *_steps(z, steps), *branch, *_steps(y, steps), positions, channels)
    rows = steps * positions
    library().branch_forward(*arguments, rows, threads(rows, channels))


def branch_backward(
    z: Tensor, grad: Tensor, out: Tensor, gamma: Tensor, shortcut: str, largest: float, rounded: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Back through `branch_forward`, for the gradient of y (T, P, C).

    Args:
        z, out, gamma, shortcut: as there; `out` becomes the gradient of z, as far as it isn't through `out`.
        grad: of y; its positions side by side.
        largest, rounded: the gradient of `out` is rounded as by `round_rows`, into `rounded`.

    Returns:
        The units of these (T P), their column sums (C), and the gradient of gamma.
    """
    steps, positions, channels = grad.shape
    rows = steps * positions
    shares = threads(rows, channels)
    units, sums = out.new_empty(rows), out.new_zeros(shares, 2, channels)
    branch = (out.data_ptr(), gamma.data_ptr(), SHORTCUTS.index(shortcut), positions, channels, largest)
    results = (rounded.data_ptr(), units.data_ptr(), sums.data_ptr())
    arguments = (*_steps(z, steps), *_steps(grad, steps), *branch, *results)
    enough(library().branch_backward(*arguments, rows, shares))
    return units, *sums.sum(0)


def temporal_shift(x: Tensor, quarter: int, alpha: float, ahead: int) -> Tensor:
    """x + alpha s for x (T, ..., C), contiguous: `layers.TemporalShift`, and with `ahead` -1 its gradient.

    In s the first `quarter` channels are those of the step `ahead` steps on, the last ones those of the step
    as far back (zeros beyond the ends), the others those of x.
    """
    y, channels = torch.empty_like(x), x.shape[-1]
    rows = x[0].numel() // channels
    arguments = (x.data_ptr(), len(x), rows, channels, quarter, alpha, ahead, y.data_ptr())
    share(len(x) * rows, lambda *part: library().temporal_shift(*arguments, *part), channels)
    return y


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Each channel convolved over frames: x (B, L, C), weight (taps, C), bias (C) -> (B, L, C), contiguous.

    >>> x, weight = torch.ones(1, 4, 1), torch.tensor([[1.0], [10.0], [100.0]])
    >>> depthwise(x, weight, None).flatten().tolist() if library() else [110.0, 111.0, 111.0, 11.0]
    [110.0, 111.0, 111.0, 11.0]
    """
    y, (batch, frames, channels) = torch.empty_like(x), x.shape
    sizes = (frames, channels, weight.data_ptr(), len(weight))
    arguments = (x.data_ptr(), *sizes, place(bias), y.data_ptr())
    share(batch * frames, lambda *part: library().depthwise(*arguments, *part), channels)
    return y


def depthwise_weights(x: Tensor, grad: Tensor, taps: int) -> tuple[Tensor, Tensor]:
    """The gradients of weight (taps, C) and bias (C) of `depthwise` from that of what it returned."""
    batch, frames, channels = x.shape
    weight, bias = x.new_empty(taps, channels), x.new_empty(channels)
    sizes = (batch * frames, frames, channels, taps)
    arguments = (x.data_ptr(), grad.data_ptr(), *sizes, weight.data_ptr(), bias.data_ptr())
    share(channels, lambda *part: library().depthwise_weights(*arguments, *part), batch * frames)
    return weight, bias


@functools.cache
def products_serve() -> bool:
    """Whether `pack_weights` and `multiply` are there, on this machine."""
    return library() is not None and bool(library().products_ready())


def pack_weights(weight: Tensor, dim: int, largest: float) -> tuple[Tensor, Tensor]:
    """A matrix as 16-bit whole numbers for `multiply`, as its right factor.

    Args:
        weight: fp32; (N, K) with dim 1, (K, N) with dim 0.
        dim: that of K, over which the product sums.
        largest: of the whole numbers.

    Returns:
        Their bytes, as products.c wants them; the unit of each column (N), its largest / `largest`.
    """
    depth, columns = weight.shape[dim], weight.shape[1 - dim]
    packed = torch.empty(-(-columns // 16), -(-depth // 64), 2, 16, 64, dtype=torch.int8)
    units = weight.new_empty(columns)
    sizes = (weight.stride(1 - dim), weight.stride(dim), columns, depth, largest)
    arguments = (weight.data_ptr(), *sizes, packed.data_ptr(), units.data_ptr())
    share(len(packed), lambda *part: library().pack_weights(*arguments, *part), 16 * depth)
    return packed, units


def multiply(
    x: Tensor, weight: tuple[Tensor, Tensor], bias: Tensor | None = None, units: Tensor | None = None
) -> Tensor:
    """Exact integer products with what `pack_weights` gave: (M, N) fp32.

    Args:
        x: int8; bytes (M, K), or with `units` bytes and units (M) of `round_rows`, (M, 2 K).
        weight: see above.
        bias: (N) or None.
        units: see above.
    """
    packed, unit = weight
    x = x.contiguous()  # windows of one sequence lie over each other
    rows, stride = x.shape
    depth = stride if units is None else stride // 2
    low, high = (None, x.data_ptr()) if units is None else (x.data_ptr(), x.data_ptr() + depth)
    y = unit.new_empty(rows, len(unit))
    factor = (packed.data_ptr(), len(unit), unit.data_ptr(), place(bias), place(units))
    arguments = (high, low, stride, rows, depth, *factor, y.data_ptr())
    work = depth * len(unit) // 16  # of 32 rows, in what takes a nanosecond
    enough(library().multiply(*arguments, threads(-(-rows // 32), work)))
    return y


def _current(x: Tensor) -> tuple[int, int, int]:
    return x.data_ptr(), x.stride(0), x.shape[1]


def neuron_of(steps: int, leak: Tensor | float, p) -> _Neuron:
    """What C needs to know; 1 - leak in the precision in which torch would take it."""
    numbers = (float(leak), float(1 - leak), p.threshold - p.rest, p.surrogate.alpha)
    options = (p.decay_input, p.v_reset is None, p.detach_reset, SURROGATES.index(p.surrogate.name))
    return _Neuron(*numbers, steps, *options)


def _steps(x: Tensor, steps: int) -> tuple[int, int]:
    """Where (T, P, C) or (1, P, C) begins, and from one of its steps to the next."""
    return x.data_ptr(), 0 if len(x) < steps else x.stride(0)
