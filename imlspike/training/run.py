"""A whole training of a vocoder: from its configuration to an experiment directory."""

import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.model_summary import ModelSummary

from imlspike.data.files import make_folder, sole_training
from imlspike.data.model_files import load_checkpoint
from imlspike.data.origin import origin
from imlspike.data.yaml_file import ConfigError, read_yaml, write_yaml
from imlspike.inference.bundle import Bundle
from imlspike.inference.vocoder import spiking_vocos
from imlspike.training.checkpoints import LAST, AtomicCheckpoints, Keeper, at_validation
from imlspike.training.config import VocoderConfig, check_same
from imlspike.training.data import VocoderData
from imlspike.training.log import TableLogger, TrainingLog, log, log_to
from imlspike.training.vocoder import VocoderTraining


def train(
    config: VocoderConfig, exp_dir: str | os.PathLike, resume: str = "auto", command: Sequence[str] = ()
) -> VocoderTraining:
    """Train a vocoder, or go on with a training that was interrupted, as if it hadn't been: on a CPU the
    weights are the same bit for bit, as long as torch itself computes the same.

    The experiment directory gets config.yaml (all settings; under `run` versions, git commit and command),
    train.log, log.csv, tensorboard/, checkpoints/last.ckpt and best.ckpt, and of the last validation
    bundle.yaml and weights.safetensors (`imlspike.inference.Bundle`).

    Args:
        config, exp_dir: what to train, and where; the directory is made if it isn't there.
        resume: "auto": go on from `exp_dir`'s last checkpoint, if there is one; "anyway": even if the
            configuration has changed; "never": refuse to go on; else a checkpoint to start from.
        command: the command line, for config.yaml.

    Returns:
        what was trained; its `step` is below `config.trainer.steps` if the time was up before.

    Raises:
        ConfigError: if the directory holds a training with another configuration, or any although `resume`
            is "never", or if another process trains there.
        ValueError, AudioError: for data that can't be used.
        FloatingPointError: if training diverges.
        InterruptedError: on SIGTERM, once the step is done and a checkpoint is written.
    """
    begun, exp_dir = time.monotonic(), Path(exp_dir)
    make_folder(exp_dir)
    with ExitStack() as during:
        if rank_zero_only.rank == 0:
            try:
                during.enter_context(sole_training(exp_dir))
            except RuntimeError as error:
                raise ConfigError(str(error)) from None
        checkpoint = _checkpoint(config, exp_dir, resume)
        if rank_zero_only.rank == 0:
            log_to(exp_dir / "train.log")
            for part in (*exp_dir.glob(".*.tmp"), *exp_dir.glob("checkpoints/.*.tmp")):  # of a kill
                part.unlink()
        else:
            log.setLevel(logging.WARNING)
        teacher = config.teacher and spiking_vocos(Bundle.load(config.teacher, "vocoder"))
        torch.manual_seed(config.trainer.seed)  # with or without a teacher, the same first weights
        module = VocoderTraining(config, teacher)
        if checkpoint and _restore(module, checkpoint) >= config.trainer.steps:
            log.info(f"{checkpoint} is of the last step, {module.step}; nothing is left to train")
        else:
            _fit(config, exp_dir, module, checkpoint, begun, command)
        return module


def _checkpoint(config: VocoderConfig, exp_dir: Path, resume: str) -> Path | None:
    """The checkpoint to start from; None: start from nothing."""
    last = exp_dir / "checkpoints" / LAST
    if resume not in ("auto", "anyway", "never"):
        if not Path(resume).is_file():
            raise ConfigError(f"--resume {resume}: expected auto, anyway, never or a checkpoint's file")
        return Path(resume)
    if not last.exists():
        return None
    if resume == "never":
        raise ConfigError(f"{exp_dir} holds a training already; go on with --resume auto, or take another")
    if resume == "auto" and (exp_dir / "config.yaml").exists():
        check_same(read_yaml(exp_dir / "config.yaml"), config, str(exp_dir / "config.yaml"))
    return last


def _restore(module: VocoderTraining, checkpoint: Path) -> int:
    """Load weights and counts (Lightning does so again, with the optimizers); return the step."""
    best = checkpoint.with_name("best.ckpt")
    others = f"go on with --resume {best}, or " if best.is_file() and best != checkpoint else ""
    states = load_checkpoint(checkpoint, lambda: f"{others}start anew in another --exp-dir")
    try:
        module.load_state_dict(states["state_dict"])
    except (KeyError, RuntimeError) as error:
        raise ConfigError(f"{checkpoint} doesn't fit this configuration: {error}") from None
    module.on_load_checkpoint(states)
    return module.step


def _fit(config, exp_dir: Path, module: VocoderTraining, checkpoint, begun: float, command) -> None:
    """Train from the step that `module` has reached; `begun` is on the clock of `time.monotonic`."""
    data, told = VocoderData(config, module.generator.config), config.trainer
    about = origin(" ".join(command), "torchaudio", "lightning", "numpy")
    if rank_zero_only.rank == 0:
        started = {"started": datetime.now().astimezone().isoformat(timespec="seconds")}
        write_yaml(exp_dir / "config.yaml", config.as_dict() | {"run": about | started})
    log.info(f"{about['command']} ({about['git']}, {about['versions']})")
    for line in (
        f"{module.generator.config}{f', taught by {config.teacher}' if config.teacher else ''}",
        str(ModelSummary(module)),
        f"{told.steps} generator steps, {max(0, told.steps - told.pretrain_steps)} discriminator steps (from "
        f"step {told.pretrain_steps} on), {config.data.batch_size} x {told.devices * told.num_nodes} pieces "
        f"of {config.data.crop_samples} samples each",
        *data.describe(),
        f"goes on from {checkpoint}" if checkpoint else "starts from step 0",
    ):
        log.info(line)
    deadline = None if told.max_time_minutes is None else begun + 60 * told.max_time_minutes
    keeper = Keeper(exp_dir, about | {"seed": told.seed}, deadline)
    trainer = _trainer(config, exp_dir, module.step, keeper)
    try:
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    except SIGTERMException:  # left alone it would end the process as if all were done, with status 0
        done = f"step {module.step} of {told.steps}"
        raise InterruptedError(f"SIGTERM after {done}; the same command goes on from there") from None
    log.info(
        f"{'the time is up; the same command goes on from here' if keeper.out_of_time else 'done'}: "
        f"{module.step} generator steps, {module.discriminator_steps} discriminator steps, "
        f"{module.seconds:.0f} s in all; mel distance {module.valid_mel:.4f}"
    )


def _trainer(config: VocoderConfig, exp_dir: Path, step: int, keeper: Keeper) -> Trainer:
    """Lightning's Trainer for the steps from `step` on; an epoch is what lies between two validations."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    harmless = "does not have many workers|`log_every_n_steps`|smaller than the logging|Checkpoint directory"
    warnings.filterwarnings("ignore", f".*({harmless})")
    told, terminal = config.trainer, sys.stdout.isatty()  # elsewhere the lines of the log tell how far it is
    callbacks = [TrainingLog(), keeper, *at_validation(exp_dir / "checkpoints")]
    board = TensorBoardLogger(exp_dir, "tensorboard", "", purge_step=step + 1)
    return Trainer(
        accelerator=told.accelerator,
        devices=told.devices,
        num_nodes=told.num_nodes,
        # Generator and discriminators take turns, so some parameters are always without a gradient.
        strategy="ddp_find_unused_parameters_true" if told.devices * told.num_nodes > 1 else "auto",
        precision=told.precision,
        max_epochs=math.ceil(told.steps / told.validate_every) - step // told.validate_every,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=[board, TableLogger(exp_dir / "log.csv", step)],
        callbacks=[*callbacks, *([RichProgressBar()] if terminal else [])],
        plugins=[AtomicCheckpoints()],
        enable_progress_bar=terminal,
        enable_model_summary=False,
        inference_mode=False,  # what a network keeps from a validation may take part in training
        default_root_dir=exp_dir,
    )
