"""Checkpoints that survive a kill, the generator for inference, and the end of a training."""

import os
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from imlspike.data.files import atomic_write
from imlspike.inference.vocoder import vocoder_bundle

LAST, BEST = "last.ckpt", "best.ckpt"


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, but on the disk as the old file or the new one, never a part of it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "checkpoints" / "last.ckpt"
    >>> AtomicCheckpoints().save_checkpoint({"step": 3}, path)
    >>> AtomicCheckpoints().load_checkpoint(path, weights_only=True)
    {'step': 3}
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path, storage_options: Any = None) -> None:
        """Write the file; its folder is made."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with atomic_write(path, "wb") as out:
                torch.save(checkpoint, out)
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"couldn't write {path}: {error}. The file that was there before is unchanged. Make room and "
                "run the same command again: training goes on from the last checkpoint"
            ) from error


class Keeper(Callback):
    """Writes checkpoints/last.ckpt and best.ckpt and the generator's bundle; ends the training.

    `last` is written at every validation, every `checkpoint_every` steps and on SIGTERM, `best` when a
    validation has the smallest mel distance so far; the bundle is that of the last validation.
    Training ends after `steps`, or, with a validation, when the time is up.

    Args:
        exp_dir: the experiment.
        origin: what the bundle says of where it comes from.
        deadline: when to end, on the clock of `time.monotonic`; None: never.

    Attributes:
        out_of_time: training ended before its last step because the time was up.
    """

    def __init__(self, exp_dir: Path, origin: dict[str, Any], deadline: float | None = None):
        self.origin = origin
        self.folder, self.exp_dir, self.deadline = exp_dir / "checkpoints", exp_dir, deadline
        self.out_of_time = False

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_) -> None:
        """Stop if all steps are taken or the time is up; the checkpoint between validations."""
        told = module.config.trainer
        if module.step >= told.steps:
            trainer.should_stop = True
        elif self.deadline is not None:
            late = time.monotonic() >= self.deadline
            if trainer.strategy.reduce_boolean_decision(late, all=False):
                self.out_of_time = trainer.should_stop = True
        every = told.checkpoint_every
        due = every and module.step % every == 0 and module.step % told.validate_every
        if due or trainer.received_sigterm:
            trainer.save_checkpoint(self.folder / LAST)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """The checkpoint of a validation."""
        improved = module.valid_mel < module.best_mel
        module.best_mel = min(module.valid_mel, module.best_mel)
        if improved:
            trainer.save_checkpoint(self.folder / BEST)
        self._save_generator(module)
        trainer.save_checkpoint(self.folder / LAST)  # at the end: what it stands for is complete

    @rank_zero_only
    def _save_generator(self, module: LightningModule) -> None:
        vocoder_bundle(module.generator, self.exp_dir.name, self.origin).save(self.exp_dir)


@rank_zero_only
def remove_leftovers(exp_dir: Path) -> None:
    """Remove the temporary files of a run that was killed while it wrote.

    >>> import tempfile
    >>> exp = Path(tempfile.mkdtemp())
    >>> (exp / ".weights.safetensors.123.abcd0123.tmp").touch()
    >>> remove_leftovers(exp)
    >>> list(exp.iterdir())
    []
    """
    for folder in (exp_dir, exp_dir / "checkpoints"):
        for stale in folder.glob(".*.tmp"):
            stale.unlink()
