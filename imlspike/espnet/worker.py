"""ESPnet's training in a process: its checkpoints appear whole, bf16 works on the CPU, a bundle ends it.

Where it hooks in (espnet 202511): `AbsTask.main` runs `cls.main_worker` in this process, or spawns it once a
GPU (espnet2/tasks/abs_task.py); `Trainer.run` saves by `torch.save(..., output_dir / "checkpoint.pth")` and
`<epoch>epoch.pth` and sets links (espnet2/train/trainer.py, step 4 of an epoch), `average_nbest_models` saves
by `torch.save`; trainer and ASR model enter `autocast`, a name in their modules that is CUDA's.
"""

import argparse
import logging
import os
import resource
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from espnet2.asr import espnet_model
from espnet2.main_funcs import collect_stats
from espnet2.tasks import abs_task
from espnet2.tasks.abs_task import AbsTask
from espnet2.train import trainer
from espnet2.train.distributed_utils import get_rank
from espnet2.train.reporter import Reporter

from imlspike.data.files import save_checkpoint, sole_training
from imlspike.data.model_files import load_checkpoint
from imlspike.data.origin import origin
from imlspike.data.yaml_file import ConfigError
from imlspike.espnet import register
from imlspike.espnet.monitor import report_spikes
from imlspike.inference.experiment import read_experiment
from imlspike.models import IMLSpikeformerEncoder

_espnet_main_worker = AbsTask.main_worker.__func__
# `logging.warning`, called before ESPnet sets up the log, would set it up itself, for warnings only.
_log = logging.getLogger(__name__)


class RegisteredWorker:
    """Stands for `AbsTask.main_worker` and is pickled as `run_worker` and the task class.

    A process that ESPnet spawns imports only what its target names; since that is `run_worker`, it registers.
    """

    def __get__(self, instance, task: type[AbsTask]) -> partial:
        return partial(run_worker, task)


def run_worker(task: type[AbsTask], args: argparse.Namespace) -> None:
    """ESPnet's `task.main_worker(args)` with imlspike registered and checkpoints that are replaced whole.

    Only one training at a time writes to an output folder. That of a recognizer or a voice ends by writing
    its bundle there (`imlspike.inference.Bundle`). `use_amp: true` means bf16 on the CPU, too. At the end the
    log says how much memory the process took at most.

    Raises:
        RuntimeError: if another process is training in the output folder.
    """
    register()
    folder = Path(args.output_dir)
    first = not args.distributed or get_rank(args.dist_rank, args.dist_launcher) == 0
    writes = first and not args.collect_stats and not args.dry_run
    with ExitStack() as during:
        during.enter_context(atomic_torch_save())
        if args.use_amp and args.ngpu == 0:
            during.enter_context(bf16_on_cpu())
        if args.collect_stats:
            during.enter_context(sums_in_fp64())
        if writes:
            during.enter_context(sole_training(folder))
            if args.resume:
                repair_experiment(folder, args.best_model_criterion)
        build = partial(_build_reporting, task.build_model)
        during.enter_context(mock.patch.object(task, "build_model", build))
        _espnet_main_worker(task, args)
        if writes and {"ASRTask", "TTSTask"} & {each.__name__ for each in task.__mro__}:  # also espnetez's
            _write_bundle(folder)
    # ru_maxrss is in KiB, on macOS in bytes; `imlspike report` reads this line.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    logging.info(f"peak resident memory: {peak:.0f} MB")


def _build_reporting(build_model: Callable, args: argparse.Namespace) -> torch.nn.Module:
    """ESPnet's model, of which the log and TensorBoard tell spike rates and thresholds; an error in a batch,
    as of utterances too short for a token, names the utterances."""
    model = build_model(args)

    class Naming(type(model)):  # a class, since replicas of data parallelism share attributes with the model
        def forward(self, *args, **batch):
            try:
                return super().forward(*args, **batch)
            except Exception as error:
                error.add_note(f"the batch: {', '.join(batch.get('utt_id', ()))}")
                raise

    Naming.__name__, model.__class__ = type(model).__name__, Naming
    encoder, weight = getattr(model, "encoder", None), getattr(model, "interctc_weight", 0)
    if weight and isinstance(encoder, IMLSpikeformerEncoder) and not encoder.interctc_layer_idx:
        raise ValueError(f"model_conf: interctc_weight is {weight}; say interctc_layer_idx in encoder_conf")
    return report_spikes(model)


@contextmanager
def atomic_torch_save() -> Iterator[None]:
    """Within the block, `torch.save` to a path, not to an open file, is `save_checkpoint`."""
    original = torch.save

    def save(obj, f, *args, **kwargs):
        if not isinstance(f, str | os.PathLike):
            return original(obj, f, *args, **kwargs)
        save_checkpoint(f, lambda out: original(obj, out, *args, **kwargs))

    with mock.patch.object(torch, "save", save):
        yield


@contextmanager
def bf16_on_cpu() -> Iterator[None]:
    """Within the block `use_amp: true` makes ESPnet's trainer run models under bf16 autocast on the CPU.

    ESPnet alone enters the autocast of CUDA, without effect. Feature extraction stays in fp32 as on the GPU;
    gradients are not scaled: bf16 has the range of fp32.
    """

    def autocast(enabled: bool = True, dtype: torch.dtype | None = None) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=enabled)

    patch = mock.patch.object
    with patch(trainer, "autocast", autocast), patch(espnet_model, "autocast", autocast):
        yield


@contextmanager
def sums_in_fp64() -> Iterator[None]:
    """Within the block, sum ESPnet's statistics in fp64: fp32 sums depend on the order of utterances and
    on how many processes share them, so that the same data in another folder gave other weights.

    Features that are written for training stay fp32.
    """
    original = abs_task.collect_stats

    def in_fp64(features, **batch):
        return {k: v.double() if v.is_floating_point() else v for k, v in features(**batch).items()}

    def collect(model, *args, **kwargs):
        if model is not None:
            model.collect_feats = partial(in_fp64, model.collect_feats)
        return original(model, *args, **kwargs)

    class Writer(collect_stats.NpyScpWriter):
        def __setitem__(self, key, value):
            super().__setitem__(key, value.astype(np.float32) if value.dtype == np.float64 else value)

    patch = mock.patch.object
    with patch(abs_task, "collect_stats", collect), patch(collect_stats, "NpyScpWriter", Writer):
        yield


def repair_experiment(folder: Path, best_model_criterion: Sequence[Sequence[str]]) -> None:
    """Complete what a kill between two writes left open in an ESPnet experiment, before training resumes.

    `checkpoint.pth` is the truth; without it only temporary files of interrupted writes go. A missing
    `<epoch>epoch.pth` of its epoch is written again (without it ESPnet's averaging at the end fails), the
    links `latest.pth` and to the best epoch by [["valid", "acc", "max"], ...] are set again.
    """
    for stale in folder.glob(".*.pth.*.tmp"):
        stale.unlink()
    if not (folder / "checkpoint.pth").exists():
        return
    states = load_checkpoint(folder / "checkpoint.pth", lambda: _way_out(folder), weights_only=False)
    reporter = Reporter()
    reporter.load_state_dict(states["reporter"])
    epoch = reporter.get_epoch()
    model, links = folder / f"{epoch}epoch.pth", ["latest.pth"]
    if not model.exists():
        _log.warning(f"{model} is missing; written again from checkpoint.pth")
        torch.save(states["model"], model)
    for phase, key, mode in best_model_criterion:
        if reporter.has(phase, key) and reporter.get_best_epoch(phase, key, mode) == epoch:
            links.append(f"{phase}.{key}.best.pth")
    for name in links:
        temporary = folder / f".{name}.link.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(model.name)
        os.replace(temporary, folder / name)


def _way_out(folder: Path) -> str:
    """The way on without checkpoint.pth: a training can't go on from weights alone, but begin with them."""
    kept = sorted(folder.glob("[0-9]*epoch.pth"), key=lambda path: int(path.stem.removesuffix("epoch")))
    for path in reversed(kept):
        with suppress(ConfigError):
            load_checkpoint(path, str)
            return f"move it away, and train anew, with the weights of {path.stem}: --init_param {path}"
    return "move it away, and train anew"


def _write_bundle(folder: Path) -> None:
    """Write the bundle of what was trained, where it is of a kind that a bundle can hold."""
    from imlspike.espnet.parts import complete

    try:
        bundle = read_experiment(folder)
        bundle.origin |= origin(bundle.origin.get("command", shlex.join(sys.argv)), "espnet")
        if bundle.kind == "recognizer":
            complete(bundle)
        bundle.save(folder)
    except ConfigError as error:
        logging.warning(f"no bundle was written: {error}")
