"""Checkpoints that survive a kill, the generator for inference, and the end of a training by the clock."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from imlspike.data.files import save_checkpoint
from imlspike.inference.vocoder import vocoder_bundle

LAST = "last.ckpt"


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, on the disk as the old file or the new one, never a part of it.

    Lightning's own write moves a file from the system's temporary folder, which between two disks is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path, storage_options: Any = None) -> None:
        """Write the file; its folder is made."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        save_checkpoint(path, partial(torch.save, checkpoint))


def at_validation(folder: Path) -> list[ModelCheckpoint]:
    """Return the callbacks that write best.ckpt and, after it, last.ckpt at every validation.

    `best` is written when the mel distance is the smallest so far.
    """
    when = {"save_on_train_epoch_end": False, "enable_version_counter": False}
    best = ModelCheckpoint(folder, "best", monitor="valid_mel", auto_insert_metric_name=False, **when)
    return [best, ModelCheckpoint(folder, "last", **when)]


class Keeper(Callback):
    """The bundle of each validation, checkpoints between validations and on SIGTERM, the end by the clock.

    A SIGTERM at the step of a validation leaves the checkpoint before it: the steps since are done again.

    Args:
        exp_dir, origin: the experiment, the bundle's field of that name.
        deadline: when to end, with a validation, on the clock of `time.monotonic`; None: never.

    Attributes:
        out_of_time: training ended before its last step because the time was up.
    """

    def __init__(self, exp_dir: Path, origin: dict[str, Any], deadline: float | None = None):
        self.exp_dir, self.origin, self.deadline = exp_dir, origin, deadline
        self.out_of_time = False

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_) -> None:
        """Stop if the time is up; the checkpoint between validations."""
        told = module.config.trainer
        if self.deadline is not None and module.step < told.steps:
            late = time.monotonic() >= self.deadline
            if trainer.strategy.reduce_boolean_decision(late, all=False):
                self.out_of_time = trainer.should_stop = True
        every = told.checkpoint_every
        due = every and module.step % every == 0 and module.step % told.validate_every
        # At a validation's step a SIGTERM stops that; what goes on then has to do it, from what was before.
        last = trainer.received_sigterm and module.step % told.validate_every and module.step < told.steps
        if due or last:
            trainer.save_checkpoint(self.exp_dir / "checkpoints" / LAST)

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the bundle; `ModelCheckpoint` comes after all other callbacks."""
        level = trainer.datamodule.level
        vocoder_bundle(module.generator, self.exp_dir.name, self.origin, level).save(self.exp_dir)
