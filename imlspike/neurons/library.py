"""The compiled loops (`*.c` beside this file and in `imlspike/layers`): found, checked, called in threads.

They are built when imlspike is installed. Where they aren't there (no compiler, a copy that isn't installed),
and for what they don't take (another device or type), torch's operations are used. The environment variable
``IMLSPIKE_KERNELS=0`` leaves them out.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.machinery
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

# A number takes a nanosecond or less: fewer aren't worth a second thread.
_LEAST_PER_THREAD = 1 << 14

_PART = ctypes.CFUNCTYPE(None, ctypes.c_int64)
# Of the functions in C: p a pointer, n a count or a distance, f a factor, i an option. At the end stand how
# many threads share the work, or the begin and the end of the part that is to be done (see `share`).
_TYPES = {"p": ctypes.c_void_p, "n": ctypes.c_int64, "f": ctypes.c_float, "i": ctypes.c_int}
_ARGUMENTS = {
    "lif_forward_shared": "pnnppppn",
    "lif_backward_shared": "pnnppppn",
    "round_rows": "ppnfpppnn",
    "branch_forward": "pnpnppipnnnnn",
    "branch_backward": "pnpnppinnfpppnn",
    "temporal_shift": "pnnnnfipnn",
    "depthwise": "pnnpnppnn",
    "depthwise_weights": "ppnnnnppnn",
    "pack_weights": "pnnnnfppnn",
    "multiply": "ppnnnpnppppn",
    "products_ready": "",
    "imls_forward": "ppinfippnn",
    "imls_backward": "ppinippnn",
    "norm_sums": "pppnppnn",
    "norm_apply": "ppnpppnn",
    "norm_back": "pppnppppnn",
    "norm_fire": "ppnnppnppnn",
    "norm_fire_back": "ppnnppnpppppnn",
}


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled loops, or None.

    >>> library() is library()
    True
    """
    if os.environ.get("IMLSPIKE_KERNELS") == "0":
        return None
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        file = Path(__file__).parent / f"_kernels{suffix}"
        if file.is_file():
            found = ctypes.CDLL(str(file))
            if wrong := _unfit(found):
                warnings.warn(
                    f"{file} was built {wrong}, and isn't used: all goes on more slowly. Build it again: "
                    "pip install -e . (or ./run.sh setup)",
                    stacklevel=2,
                )
                return None
            for name, kinds in _ARGUMENTS.items():
                getattr(found, name).argtypes = [_TYPES[kind] for kind in kinds]
            found.side_by_side.argtypes = [_PART, ctypes.c_int64]
            found.lif_backward_shared.restype = found.norm_fire_back.restype = ctypes.c_double
            return found
    return None


def _unfit(found: ctypes.CDLL) -> str:
    """Why these loops can't be used; empty if they can.

    Functions of other sources may take other arguments (a package without sources is as it was built); an
    instruction that a processor doesn't know, as on an older machine of a cluster, would end the process.
    """
    files = sorted(Path(__file__).parents[1].glob("*/*.[ch]"))
    checksum = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    if files and _told(found, "sources") != checksum:
        return "from other sources than are here"
    needed = set(_told(found, "processor").split())
    if needed and (missing := sorted(needed - _processor())):
        return f"for a processor that can more than this one ({' '.join(missing[:5])})"
    return ""


def _told(found: ctypes.CDLL, what: str) -> str:
    if not hasattr(found, what):
        return ""
    function = getattr(found, what)
    function.restype = ctypes.c_char_p
    return function().decode()


def _processor() -> set[str]:
    """What this machine's processor can do, in Linux' words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return set(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def loops_serve(*tensors: Tensor) -> bool:
    """Whether the loops can read and write these: fp32 on a CPU, not under a compiler or a tracer.

    >>> loops_serve(torch.zeros(2, 3, dtype=torch.float64))
    False
    """
    return (
        all(x.device.type == "cpu" and x.dtype == torch.float32 for x in tensors)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and library() is not None
    )


def place(x: Tensor | None) -> int | None:
    """Where the numbers lie, or nowhere."""
    return None if x is None else x.data_ptr()


def enough(status: int) -> None:
    """Raise MemoryError if a loop says by `status` that it found no memory."""
    if status != 0:
        raise MemoryError("a compiled loop found no memory for its work")


def threads(count: int, weight: int = 1) -> int:
    """How many threads so many things that take `weight` nanoseconds each are worth, up to those of torch."""
    return max(1, min(torch.get_num_threads(), count, count * weight // _LEAST_PER_THREAD))


def share(count: int, call: Callable[[int, int], object], weight: int = 1) -> list:
    """`call` on the parts of range(count), as many as torch has threads, side by side; what they returned.

    The threads are OpenMP's, as torch's own: others would wait for these to give up the processors, which
    they keep for a while after each of torch's operations.
    """
    parts = threads(count, weight)
    cuts = [count * part // parts for part in range(parts + 1)]
    if parts == 1:
        return [call(0, count)]
    results, errors = [None] * parts, []

    def run(part: int) -> None:
        try:
            results[part] = call(cuts[part], cuts[part + 1])
        except Exception as error:  # it can't pass through C
            errors.append(error)

    library().side_by_side(_PART(run), parts)
    if errors:
        raise errors[0]
    return results
