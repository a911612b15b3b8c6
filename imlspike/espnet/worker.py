"""What each of ESPnet's worker processes runs: the one that a user started and those that ESPnet spawns."""

import argparse
import logging
import resource
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from espnet2.main_funcs import collect_stats
from espnet2.tasks import abs_task
from espnet2.tasks.abs_task import AbsTask
from espnet2.train.distributed_utils import get_rank

from imlspike.data.files import sole_training
from imlspike.data.origin import origin
from imlspike.data.yaml_file import ConfigError
from imlspike.espnet import register
from imlspike.espnet.atomic_save import atomic_torch_save, repair_experiment
from imlspike.espnet.mixed_precision import bf16_on_cpu
from imlspike.inference.experiment import read_experiment

_espnet_main_worker = AbsTask.main_worker.__func__


def run_worker(task: type[AbsTask], args: argparse.Namespace) -> None:
    """ESPnet's `task.main_worker(args)` with imlspike registered and checkpoints that are replaced whole.

    Only one training at a time writes to an output folder. That of a recognizer or a voice ends by writing
    its bundle there (`imlspike.inference.Bundle`). `use_amp: true` means bf16 on the CPU, too (see
    `imlspike.espnet.mixed_precision`). At the end the log says how much memory the process took at most.

    Args:
        task: ESPnet's task class, for example `ASRTask`.
        args: its parsed arguments.

    Raises:
        RuntimeError: if another process is training in the output folder.

    >>> callable(run_worker)
    True
    """
    register()
    writes = not args.collect_stats and not args.dry_run and _is_first(args)
    with ExitStack() as during:
        during.enter_context(atomic_torch_save())
        during.enter_context(bf16_on_cpu(args.use_amp and args.ngpu == 0))
        if args.collect_stats:
            during.enter_context(sums_in_fp64())
        if writes:
            during.enter_context(sole_training(Path(args.output_dir)))
            if args.resume:
                repair_experiment(Path(args.output_dir), args.best_model_criterion)
        _espnet_main_worker(task, args)
        if writes and task.__name__ in ("ASRTask", "TTSTask"):
            _write_bundle(Path(args.output_dir))
    # ru_maxrss is in KiB, on macOS in bytes; `imlspike report` reads this line.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    logging.info(f"peak resident memory: {peak:.0f} MB")


def _write_bundle(folder: Path) -> None:
    """The bundle of what was trained, into its folder, where it is of a kind that a bundle can hold."""
    from imlspike.espnet.parts import complete

    try:
        bundle = read_experiment(folder)
        bundle.origin |= origin(bundle.origin.get("command", shlex.join(sys.argv)), "espnet")
        if bundle.kind == "recognizer":
            complete(bundle)
        bundle.save(folder)
    except ConfigError as error:
        logging.warning(f"no bundle was written: {error}")


@contextmanager
def sums_in_fp64() -> Iterator[None]:
    """Within the block, sum ESPnet's statistics in fp64: fp32 sums depend on the order of utterances and
    on how many processes share them, so that the same data in another folder gave other weights.

    Features that are written for training stay fp32.
    """

    def collect(model, *args, **kwargs):
        if model is not None:
            features = model.collect_feats
            model.collect_feats = lambda **batch: {
                key: value.double() if value.is_floating_point() else value
                for key, value in features(**batch).items()
            }
        return original(model, *args, **kwargs)

    class Writer(collect_stats.NpyScpWriter):
        def __setitem__(self, key, value):
            super().__setitem__(key, value.astype(np.float32) if value.dtype == np.float64 else value)

    original, writer = abs_task.collect_stats, collect_stats.NpyScpWriter
    abs_task.collect_stats, collect_stats.NpyScpWriter = collect, Writer
    try:
        yield
    finally:
        abs_task.collect_stats, collect_stats.NpyScpWriter = original, writer


def _is_first(args: argparse.Namespace) -> bool:
    """Whether this is the process that writes files: the only one, or rank 0 of several."""
    return not args.distributed or get_rank(args.dist_rank, args.dist_launcher) == 0


class RegisteredWorker:
    """Stands for `AbsTask.main_worker` and is pickled as `run_worker` and the task class.

    ESPnet starts one process per GPU by `spawn` with `cls.main_worker` as its target. A spawned process
    imports only what the target names; since that is `run_worker`, it imports this module and registers.

    >>> class Task:
    ...     main_worker = RegisteredWorker()
    >>> Task.main_worker.func is run_worker, Task.main_worker.args == (Task,)
    (True, True)
    """

    def __get__(self, instance, task: type[AbsTask]) -> partial:
        return partial(run_worker, task)
