"""The same work on many utterances, in several processes."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
PER_PROCESS = 100  # so many items are worth starting one more process, which takes seconds


def map_parallel(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    nj: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    per_process: int | None = None,
) -> Iterator[Result]:
    """Yield `work(item)` for each item, in their order.

    Args:
        work: a function that other processes can import, or a `functools.partial` of one.
        nj: processes at most, each with one thread (of torch, where this process has imported it), and no
            more than one for `per_process` items; where that gives one, the work is done in this process.
        per_process: `PER_PROCESS` if None; where an item takes seconds, a few are enough.

    Raises:
        ValueError, RuntimeError: if `nj` isn't positive; if a process was killed (as for lack of memory).
        Whatever `work` raises; the other processes end first.
    """
    if nj < 1:
        raise ValueError(f"nj is {nj}; at least one process is needed")
    per_process = per_process or PER_PROCESS
    nj = min(nj, -(-len(items) // per_process))
    if nj <= 1:
        yield from _counted(map(work, items), len(items), progress)
        return
    # Not forked from this process: torch's threads don't live through that.
    context, torch = get_context("forkserver"), sys.modules.get("torch")
    context.set_forkserver_preload([*["torch"] * bool(torch), getattr(work, "func", work).__module__])
    with ProcessPoolExecutor(nj, context, torch and torch.set_num_threads, (1,) if torch else ()) as pool:
        try:
            yield from _counted(pool.map(work, items, chunksize=min(4, per_process)), len(items), progress)
        except BrokenProcessPool:
            raise RuntimeError(
                f"one of {nj} processes was killed, perhaps for lack of memory; run again with fewer (--nj)"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _counted(results: Iterator[Result], total: int, progress: Callable[[int, int], None]) -> Iterator[Result]:
    for done, result in enumerate(results, start=1):
        progress(done, total)
        yield result
