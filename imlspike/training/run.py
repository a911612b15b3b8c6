"""A whole training of a vocoder: from its configuration to an experiment directory."""

import logging
import os
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from imlspike.data.files import sole_training
from imlspike.data.origin import origin
from imlspike.data.yaml_file import ConfigError, read_yaml
from imlspike.inference.bundle import Bundle
from imlspike.inference.vocoder import spiking_vocos
from imlspike.training.checkpoints import LAST, AtomicCheckpoints, Keeper, remove_leftovers
from imlspike.training.config import VocoderConfig, check_same, write_config
from imlspike.training.data import VocoderData
from imlspike.training.vocoder import VocoderTraining
from imlspike.training.watch import Watch, log, log_to


def train(
    config: VocoderConfig,
    exp_dir: str | os.PathLike,
    resume: str = "auto",
    command: Sequence[str] = (),
) -> VocoderTraining:
    """Train a vocoder, or go on with a training that was interrupted.

    The experiment directory gets config.yaml (all settings; under `run` versions, git commit and command),
    train.log, log.csv, tensorboard/, checkpoints/last.ckpt and best.ckpt, and of the last validation
    bundle.yaml and weights.safetensors (`imlspike.inference.Bundle`).

    A training that is interrupted, however hard, and goes on gives the same weights as one that isn't: on a
    CPU bit for bit, as long as torch itself computes the same.

    Args:
        config: what to train.
        exp_dir: the experiment directory; made if it isn't there.
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
    exp_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as during:
        if rank_zero_only.rank == 0:
            try:
                during.enter_context(sole_training(exp_dir))
            except RuntimeError as error:
                raise ConfigError(str(error)) from None
        return _train(config, exp_dir, _checkpoint(config, exp_dir, resume), begun, command)


def _train(
    config: VocoderConfig, exp_dir: Path, checkpoint: Path | None, begun: float, command: Sequence[str]
) -> VocoderTraining:
    """`train` in a directory that is there and locked; `begun` on the clock of `time.monotonic`."""
    remove_leftovers(exp_dir)
    _set_up_logs(exp_dir)
    teacher = config.teacher and spiking_vocos(Bundle.load(config.teacher, "vocoder"))
    torch.manual_seed(config.trainer.seed)  # with or without a teacher, the same first weights
    module = VocoderTraining(config, teacher)
    if checkpoint and _restore(module, checkpoint) >= config.trainer.steps:
        log.info(f"{checkpoint} is of the last step, {module.step}; nothing is left to train")
        return module
    data = VocoderData(config, module.generator.config)
    about = origin(" ".join(command), "torchaudio", "lightning", "numpy")
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    _write_config(exp_dir / "config.yaml", config, about | {"started": started})
    for line in [
        f"{about['command']} ({about['git']}, {about['versions']})",
        *describe(module, checkpoint),
        *data.describe(),
    ]:
        log.info(line)
    minutes = config.trainer.max_time_minutes
    deadline = None if minutes is None else begun + 60 * minutes
    keeper = Keeper(exp_dir, about | {"seed": config.trainer.seed}, deadline)
    trainer = _trainer(config, exp_dir, [Watch(exp_dir), keeper])
    try:
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    except SIGTERMException:  # left alone it would end the process as if all were done, with status 0
        done = f"step {module.step} of {config.trainer.steps}"
        raise InterruptedError(f"SIGTERM after {done}; the same command goes on from there") from None
    how = "the time is up; the same command goes on from here" if keeper.out_of_time else "done"
    log.info(
        f"{how}: {module.step} generator steps, {module.discriminator_steps} discriminator steps, "
        f"{module.seconds:.0f} s in all; best mel distance {module.best_mel:.4f}"
    )
    return module


def describe(module: VocoderTraining, checkpoint: Path | None = None) -> list[str]:
    """Lines that say what is trained, and how many steps of what.

    >>> small = {"dim": 8, "intermediate_dim": 16, "num_layers": 1, "neuron": "none"}
    >>> discriminators = {"mpd": {"channels": [4, 4]}, "mrd": {"channels": 4}}
    >>> describe(VocoderTraining(VocoderConfig([], [], generator=small, discriminators=discriminators)))[1]
    '1000000 generator steps, 1000000 discriminator steps (from step 0 on), 16 x 1 pieces of 0.683 s each'
    """
    config, own = module.config, module.generator.config
    told, processes = config.trainer, config.trainer.devices * config.trainer.num_nodes
    judges = _size(module.mpd) + _size(module.mrd)
    teacher = f", taught by {config.teacher}" if module.distillation else ""
    spiking = "Vocos" if own["neuron"] == "none" else f"Spiking Vocos, {own['neuron']}, steps={own['steps']}"
    return [
        f"{spiking}: {_size(module.generator) / 1e6:.2f} M parameters, discriminators {judges / 1e6:.2f} M"
        f"{teacher}",
        f"{told.steps} generator steps, {max(0, told.steps - told.pretrain_steps)} discriminator steps (from "
        f"step {told.pretrain_steps} on), {config.data.batch_size} x {processes} pieces of "
        f"{config.data.crop_samples / own['sampling_rate']:.3f} s each",
        f"goes on from {checkpoint}" if checkpoint else "starts from step 0",
    ]


def _checkpoint(config: VocoderConfig, exp_dir: Path, resume: str) -> Path | None:
    """Where to start from; None: from nothing."""
    last = exp_dir / "checkpoints" / LAST
    if resume not in ("auto", "anyway", "never"):
        if not Path(resume).is_file():
            raise ConfigError(
                f"--resume {resume}: no such file; expected auto, anyway, never or a checkpoint"
            )
        return Path(resume)
    if not last.exists():
        return None
    if resume == "never":
        raise ConfigError(f"{exp_dir} holds a training already; go on with --resume auto, or take another")
    if resume == "auto" and (exp_dir / "config.yaml").exists():
        check_same(read_yaml(exp_dir / "config.yaml"), config, str(exp_dir / "config.yaml"))
    return last


def _restore(module: VocoderTraining, checkpoint: Path) -> int:
    """Load weights and counts (Lightning does so again, with the optimisers); returns the step."""
    states = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
    try:
        module.load_state_dict(states["state_dict"])
    except (KeyError, RuntimeError) as error:
        raise ConfigError(f"{checkpoint} doesn't fit this configuration: {error}") from None
    module.on_load_checkpoint(states)
    return module.step


def _trainer(config: VocoderConfig, exp_dir: Path, callbacks: list) -> Trainer:
    told = config.trainer
    several = told.devices * told.num_nodes > 1
    return Trainer(
        accelerator=told.accelerator,
        devices=told.devices,
        num_nodes=told.num_nodes,
        # Generator and discriminators take turns, so some parameters are always without a gradient.
        strategy="ddp_find_unused_parameters_true" if several else "auto",
        precision=told.precision,
        max_epochs=-1,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=False,
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,  # what a network keeps from a validation may take part in training
        default_root_dir=exp_dir,
    )


@rank_zero_only
def _write_config(path: Path, config: VocoderConfig, origin: dict[str, Any]) -> None:
    write_config(path, config, origin)


def _set_up_logs(exp_dir: Path) -> None:
    """Our messages to stdout and train.log (those of the first process); Lightning's only if they warn."""
    if rank_zero_only.rank == 0:
        log_to(exp_dir / "train.log")
    else:
        log.setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for harmless in (
        "does not have many workers",
        "`log_every_n_steps`",
        "smaller than the logging interval",
    ):
        warnings.filterwarnings("ignore", f".*{harmless}")


def _size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
