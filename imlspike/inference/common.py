"""Waveforms of any type as floats, and sequences cut into windows for local computation, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from imlspike.data.mixdown import LOUDEST

if TYPE_CHECKING:
    import torch

INTEGERS = ("int8", "int16", "int32")  # that audio is stored in: their full scale is known


def as_float(waveform: np.ndarray | torch.Tensor, what: str) -> np.ndarray:
    """A waveform as float32 (samples,) with full scale at 1, checked.

    Args:
        waveform: (samples,), floats of any size with full scale at 1, or int8, int16 or int32.
        what: names it in errors.

    Raises:
        ValueError: for several channels, another type, NaN or infinity; for values of another scale than
            their type has: floats beyond 8, int32 that would fit in 16 bits.

    >>> as_float(np.array([-16384, 0], dtype=np.int16), "it")
    array([-0.5,  0. ], dtype=float32)
    """
    if hasattr(waveform, "detach"):  # a tensor
        waveform = waveform.detach().cpu()
        waveform = waveform.float() if "bfloat16" in str(waveform.dtype) else waveform  # numpy has none
    samples = np.asarray(waveform)
    if samples.dtype.kind != "f" and samples.dtype.name not in INTEGERS:
        raise ValueError(
            f"{what} is of type {samples.dtype}; expected floats with full scale at 1, int8, int16 or int32"
        )
    if samples.ndim != 1:
        raise ValueError(
            f"{what} has shape {samples.shape}; expected (samples,): give one, or the mean of its channels"
        )
    if not np.isfinite(samples).all():
        raise ValueError(f"{what}: NaN or infinity at sample {int(np.argmin(np.isfinite(samples)))}")
    kind, peak = samples.dtype, float(np.abs(samples.astype(np.float64)).max(initial=0.0))
    if (kind.kind == "f" and peak > LOUDEST) or (
        kind == np.int32 and peak <= 2**15 and (samples & 255).any()
    ):
        expected = "floats with full scale at 1: divide by 32768" if kind.kind == "f" else "int16: convert it"
        raise ValueError(f"{what} is of type {kind}, but its greatest value is {peak:g}; expected {expected}")
    return (samples / (1.0 if kind.kind == "f" else -float(np.iinfo(kind).min))).astype(np.float32)


def windows(
    blocks: Iterable[torch.Tensor | np.ndarray], chunk: int | None, context: int
) -> Iterator[tuple[torch.Tensor | np.ndarray, int, int | None]]:
    """Cut a sequence that comes in blocks into chunks, each with its `context` neighbors on both sides.

    Yields (window, first, last): window[..., first:last] is the next chunk, around it are `context` elements,
    or fewer where the sequence begins. The last window reaches to the sequence's end, and so does its chunk,
    of at most chunk + context elements: its `last` is None. So what depends on no more than `context`
    neighbors is computed in bounded memory, and is in [first:last] what it would be on the whole.

    Args:
        blocks: tensors or arrays (..., n), parts of one sequence along their last axis; of any lengths.
        chunk: elements in a chunk, at least 1; None: the whole sequence is one.
        context: at least 1.

    >>> blocks = np.split(np.arange(10), [3, 6, 9])
    >>> for window, first, last in windows(blocks, chunk=4, context=2):
    ...     window.tolist(), window[first:last].tolist()
    ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3])
    ([2, 3, 4, 5, 6, 7, 8, 9], [4, 5, 6, 7])
    ([6, 7, 8, 9], [8, 9])
    """
    held, length, first = [], 0, 0
    for block in blocks:
        held.append(block)
        length += block.shape[-1]
        if chunk is None or length < first + chunk + context:
            continue
        joined = _joined(held)
        while joined.shape[-1] >= first + chunk + context:
            last = first + chunk
            yield joined[..., : last + context], first, last
            gone = max(0, last - context)
            joined, first = joined[..., gone:], last - gone
        held, length = [joined], joined.shape[-1]
    if length:
        yield _joined(held), first, None


def _joined(parts: list) -> torch.Tensor | np.ndarray:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, -1)
    import torch

    return torch.cat(parts, -1)
