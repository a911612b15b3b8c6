"""What a training tells while it runs: a line now and then, log.csv, TensorBoard with sound and pictures."""

import csv
import logging
import math
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from imlspike.data.files import atomic_write
from imlspike.training.pictures import spectrogram_figure

LOSSES = (
    "generator mel hinge_mpd hinge_mrd matching_mpd matching_mrd discriminator distillation feature "
    "magnitude phase instantaneous_phase group_delay phase_time norm_generator norm_discriminator lr"
).split()
COLUMNS = ["step", "discriminator_steps", "seconds", "seconds_per_step", "valid_mel", *LOSSES]
IN_LINE = ("mel", "generator", "discriminator", "distillation")

log = logging.getLogger("imlspike.training")


class Watch(Callback):
    """Tells how training goes; everything is a mean over the steps since the line before.

    Args:
        exp_dir: the experiment: log.csv and tensorboard/ are written there.

    log.csv has a line for every `log_every` steps and one for every validation; what a line doesn't tell is
    empty. `seconds` counts all runs of the training. Lines of steps that a killed run took after its last
    checkpoint are removed when the training goes on.
    """

    def __init__(self, exp_dir: Path):
        self.exp_dir = exp_dir
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the clock."""
        self.clock = self.mark = time.monotonic()
        self.first, self.before = module.step, module.seconds
        self._open(module)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: dict, *_) -> None:
        """Add up the losses; now and then tell their means."""
        module.seconds = self.before + time.monotonic() - self.clock
        for name in outputs:
            self.sums[name] = self.sums[name] + outputs[name] if name in self.sums else outputs[name]
        self.steps += 1
        if module.step % module.config.trainer.log_every == 0:
            self._tell(trainer, module)

    @rank_zero_only
    def _open(self, module: LightningModule) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(self.exp_dir / "tensorboard", purge_step=module.step + 1)
        _cut(self.exp_dir / "log.csv", module.step)

    def _tell(self, trainer: Trainer, module: LightningModule) -> None:
        means = {name: float(total) / self.steps for name, total in self.sums.items()}
        per_step = (time.monotonic() - self.mark) / self.steps
        self._start_anew()
        # Asked of all processes, so that all end: one alone would leave the others waiting for it.
        if not trainer.strategy.reduce_boolean_decision(math.isfinite(means["generator"]), all=True):
            raise FloatingPointError(
                f"the generator's loss is not finite near step {module.step}; the last checkpoint is older "
                "and still good. Train with a smaller optimizer.lr or optimizer.clip_norm"
            )
        self._write(module, means, per_step)

    @rank_zero_only
    def _write(self, module: LightningModule, means: dict[str, float], per_step: float) -> None:
        steps = module.config.trainer.steps
        told = ", ".join(f"{name} {means[name]:.4g}" for name in IN_LINE if name in means)
        log.info(f"step {module.step}/{steps}: {told}; {per_step:.3g} s a step{self._end(module)}")
        self._row(module, means | {"seconds_per_step": per_step})
        for name, value in (means | {"seconds_per_step": per_step}).items():
            self.board.add_scalar(f"train/{name}", value, module.step)

    def _end(self, module: LightningModule) -> str:
        """How long the rest takes at the mean speed of this run, validations included."""
        left = module.config.trainer.steps - module.step
        seconds = (time.monotonic() - self.clock) / (module.step - self.first) * left
        end = datetime.now() + timedelta(seconds=seconds)
        return f", {timedelta(seconds=round(seconds))} left, ends {end:%d %b %H:%M}" if left else ""

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Stop the clock of the seconds per step."""
        self.paused = time.monotonic()

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Tell the mel distance and the firing rates; sound and pictures go to TensorBoard."""
        self._tell_validation(module, time.monotonic() - self.paused)
        self.mark += time.monotonic() - self.paused
        module.seconds = self.before + time.monotonic() - self.clock

    @rank_zero_only
    def _tell_validation(self, module: LightningModule, took: float) -> None:
        rates = module.rates.values()
        firing = f", firing {100 * min(rates):.1f} to {100 * max(rates):.1f} %" if rates else ""
        log.info(f"validation at step {module.step}: mel {module.valid_mel:.4f}{firing} ({took:.1f} s)")
        self._row(module, {"valid_mel": module.valid_mel})
        self.board.add_scalar("valid/mel", module.valid_mel, module.step)
        for layer, rate in module.rates.items():
            self.board.add_scalar(f"firing_rate/{layer}", rate, module.step)
        own = module.generator.config
        for name, natural, generated in module.heard:
            mels = [
                module.generator.features(wave[None].to(module.device))[0] for wave in (natural, generated)
            ]
            figure = spectrogram_figure(
                *(mel.cpu() for mel in mels), own["hop_length"] / own["sampling_rate"]
            )
            self.board.add_figure(f"spectrogram/{name}", figure, module.step)
            self.board.add_audio(f"{name}/generated", generated, module.step, own["sampling_rate"])
            self.board.add_audio(f"{name}/natural", natural, module.step, own["sampling_rate"])
        self.board.flush()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Close the event file."""
        self._close()

    @rank_zero_only
    def _close(self) -> None:
        self.board.close()

    def _start_anew(self) -> None:
        self.sums, self.steps, self.mark = {}, 0, time.monotonic()

    def _row(self, module: LightningModule, values: dict[str, float]) -> None:
        counts = {"step": module.step, "discriminator_steps": module.discriminator_steps}
        row = counts | {
            name: f"{value:.6g}" for name, value in ({"seconds": module.seconds} | values).items()
        }
        with open(self.exp_dir / "log.csv", "a", encoding="utf-8", newline="") as out:
            csv.DictWriter(out, COLUMNS, lineterminator="\n").writerow(row)


def _cut(path: Path, step: int) -> None:
    """Keep the lines of log.csv up to a step; a header for a new file."""
    rows = []
    if path.exists():
        with open(path, encoding="utf-8", newline="") as table:
            rows = [row for row in csv.DictReader(table) if _whole(row) and int(row["step"]) <= step]
    with atomic_write(path) as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _whole(row: dict) -> bool:
    """Not a line that a kill cut off."""
    return None not in row.values() and None not in row and row["step"].isdigit()


def log_to(path: Path) -> None:
    """Send the training's messages to stdout and, with date and time, to a file that goes on growing."""
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    for handler in (logging.StreamHandler(sys.stdout), logging.FileHandler(path, encoding="utf-8")):
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        log.addHandler(handler)
