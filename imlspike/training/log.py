"""The log of a training: a line now and then, log.csv, TensorBoard with sound and spectrograms."""

import csv
import logging
import math
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.logging import RichHandler

from imlspike.data.files import atomic_write

LOSSES = (
    "generator mel hinge_mpd hinge_mrd matching_mpd matching_mrd discriminator distillation feature "
    "magnitude phase instantaneous_phase group_delay phase_time norm_generator norm_discriminator lr"
).split()
COLUMNS = ["step", "discriminator_steps", "seconds", "seconds_per_step", "valid_mel", *LOSSES]
IN_LINE = ("mel", "generator", "discriminator", "distillation")

log = logging.getLogger("imlspike.training")


class TableLogger(Logger):
    """log.csv: a row for every `log_every` steps and one for every validation.

    Rows of earlier runs, which Lightning's CSVLogger would remove, stay up to `step`, that of the checkpoint:
    later steps are taken again.
    """

    name = version = ""

    def __init__(self, path: Path, step: int = 0):
        super().__init__()
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        whole = [row for row in csv.DictReader(lines) if None not in row.values() and None not in row]
        rows = [row for row in whole if row["step"].isdigit() and int(row["step"]) <= step]
        with atomic_write(path) as out:
            writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a row of those metrics that have a column."""
        row: dict[str, Any] = {"step": step}
        for key, value in metrics.items():
            text = value if isinstance(value, int) else f"{value:.6g}"
            row[key.removeprefix("train/").replace("/", "_")] = text
        with open(self.path, "a", encoding="utf-8", newline="") as out:
            csv.DictWriter(out, COLUMNS, lineterminator="\n", extrasaction="ignore").writerow(row)

    def log_hyperparams(self, *_) -> None:
        """Do nothing: config.yaml holds them."""


class TrainingLog(Callback):
    """Tells lines and loggers the means of the losses since the line before, and what a validation found.

    `seconds` counts all runs of the training.

    Raises:
        FloatingPointError: in all processes, if the generator's loss isn't finite in one of them.
    """

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the clock."""
        self.clock = self.mark = time.monotonic()
        self.first, self.steps, self.sums = module.step, 0, {}

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: dict, *_) -> None:
        """Add up the losses; now and then tell their means."""
        for name, value in outputs.items():
            self.sums[name] = self.sums.get(name, 0) + value
        self.steps += 1
        if module.step % module.config.trainer.log_every == 0:
            self._tell(trainer, module)

    def _tell(self, trainer: Trainer, module: LightningModule) -> None:
        means = {name: float(total) / self.steps for name, total in self.sums.items()}
        per_step = (time.monotonic() - self.mark) / self.steps
        self.sums, self.steps, self.mark = {}, 0, time.monotonic()
        # Asked of all processes, so that all end: one alone would leave the others waiting for it.
        if not trainer.strategy.reduce_boolean_decision(math.isfinite(means["generator"]), all=True):
            raise FloatingPointError(
                f"the generator's loss is not finite near step {module.step}; the last checkpoint is older "
                "and still good. Train with a smaller optimizer.lr or optimizer.clip_norm"
            )
        told = ", ".join(f"{name} {means[name]:.4g}" for name in IN_LINE if name in means)
        step, steps = module.step, module.config.trainer.steps
        log.info(f"step {step}/{steps}: {told}; {per_step:.3g} s a step{self._end(steps, step)}")
        means["seconds_per_step"] = per_step
        _log_metrics(module, {f"train/{key}": mean for key, mean in means.items()})

    def _end(self, steps: int, step: int) -> str:
        """Time left and the end, at the mean speed of this run, validations included."""
        seconds = (time.monotonic() - self.clock) / (step - self.first) * (steps - step)
        end = datetime.now() + timedelta(seconds=seconds)
        return f", {timedelta(seconds=round(seconds))} left, ends {end:%d %b %H:%M}" if step < steps else ""

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Stop the clock of the seconds per step."""
        self.paused = time.monotonic()

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Tell the mel distance and the firing rates; sound and spectrograms go to TensorBoard."""
        took, rates, step = time.monotonic() - self.paused, module.rates, module.step
        low, high = (100 * end(rates.values(), default=0) for end in (min, max))
        firing = f", firing {low:.1f} to {high:.1f} %" if rates else ""
        log.info(f"validation at step {step}: mel {module.valid_mel:.4f}{firing} ({took:.1f} s)")
        found = {f"firing_rate/{layer}": rate for layer, rate in rates.items()}
        _log_metrics(module, {"valid/mel": module.valid_mel} | found)
        rate = module.generator.config["sampling_rate"]
        for board in (one.experiment for one in trainer.loggers if isinstance(one, TensorBoardLogger)):
            for name, *waves in module.heard:
                mels = [module.generator.features(wave[None].to(module.device))[0] for wave in waves]
                low, high = mels[0].min(), mels[0].max()
                above = torch.cat(mels[::-1]).sub(low).div(high - low).clamp(0, 1).flip(0)  # natural on top
                board.add_image(f"spectrogram/{name}", above, step, dataformats="HW")
                for kind, wave in zip(("natural", "generated"), waves, strict=True):
                    board.add_audio(f"{name}/{kind}", wave, step, rate)
        self.mark += time.monotonic() - self.paused


def _log_metrics(module: LightningModule, metrics: dict[str, float]) -> None:
    counts = {"train/discriminator_steps": module.discriminator_steps, "train/seconds": module.seconds}
    for logger in module.loggers:
        logger.log_metrics(counts | metrics, module.step)


def log_to(path: Path) -> None:
    """Send the training's messages to stdout, above the progress bar of a terminal, and to a file."""
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.addHandler(logging.FileHandler(path, encoding="utf-8"))
    terminal = RichHandler(show_time=False, show_level=False, show_path=False)
    log.addHandler(terminal if sys.stdout.isatty() else logging.StreamHandler(sys.stdout))
    for handler in log.handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
