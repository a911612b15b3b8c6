"""The Lightning module of a vocoder: generator, discriminators and adapters; one step of each."""

import math
import time
from itertools import chain
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from imlspike.data.mel import MEL_KEYS
from imlspike.losses import DistillationLoss, MelLoss, feature_matching, hinge_discriminator, hinge_generator
from imlspike.models.discriminators import MultiPeriodDiscriminator, MultiResolutionDiscriminator
from imlspike.models.neuron_choice import NeuronChoice
from imlspike.models.spiking_vocos import SpikingVocos
from imlspike.training.config import LossConfig, VocoderConfig
from imlspike.training.firing import FiringRates


class VocoderTraining(LightningModule):
    """Adversarial training of a vocoder, with or without a teacher (Spiking Vocos, section 2.2; Vocos).

    A step makes audio once, trains the discriminators on it (not in the first `pretrain_steps`), then the
    generator against the discriminators as they are now. The learning rates follow from the number of the
    step. Nothing is drawn at random, so weights, optimisers and the number of the step are the whole state.

    Args:
        config: the training.
        teacher: the generator to distil from; it is not stored in checkpoints.

    Attributes:
        step, discriminator_steps: steps taken by the generator and by the discriminators.
        seconds: time spent in training so far, all runs together.
        valid_mel, rates: log-mel distance and each neuron layer's firing rate at the last validation.
        heard: (name, natural, generated) of a few of its utterances, 1-D, on the CPU.

    Raises:
        ValueError: if the teacher's features or blocks aren't those of the generator.
    """

    def __init__(self, config: VocoderConfig, teacher: SpikingVocos | None = None):
        super().__init__()
        self.automatic_optimization = False
        self.config = config
        self.generator = SpikingVocos.from_config(config.generator)
        if config.trainer.compile:
            for block in self.generator.backbone.blocks:
                block.compile()
        self.mpd = MultiPeriodDiscriminator(**config.discriminators.get("mpd", {}))
        self.mrd = MultiResolutionDiscriminator(**config.discriminators.get("mrd", {}))
        own = self.generator.config
        self.mel_loss = MelLoss(**{name: own[name] for name in MEL_KEYS})
        self.distillation = None if teacher is None else _distillation(own, teacher.config, config.losses)
        self._unstored = (teacher and teacher.eval().requires_grad_(False),)  # a tuple: not a submodule
        self.step = self.discriminator_steps = 0
        self._spent, self._started = 0.0, time.monotonic()
        self.valid_mel = math.inf
        self.rates: dict[str, float] = {}
        self.heard: list[tuple[str, Tensor, Tensor]] = []

    @property
    def seconds(self) -> float:
        return self._spent + time.monotonic() - self._started

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """AdamW of the generator and the adapters, and of the discriminators."""
        told = self.config.optimizer
        options = {"betas": tuple(told.betas), "weight_decay": told.weight_decay, "fused": True}
        learned = [self.generator, *filter(None, [self.distillation])]
        groups = (chain(*(part.parameters() for part in parts)) for parts in (learned, [self.mpd, self.mrd]))
        return [torch.optim.AdamW(weights, told.lr, **options) for weights in groups]

    def on_fit_start(self) -> None:
        """Start the clock; bring the teacher, which is no submodule, to the device."""
        self._started = time.monotonic()
        if self._unstored[0] is not None:
            self._unstored[0].to(self.device)

    def training_step(self, audio: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """One step on audio (B, S); returns the losses, detached."""
        factor = schedule(self.step, self.config.trainer.steps, self.config.optimizer.warmup_steps)
        mel = self.generator.features(audio)
        output = self.generator.generate(mel) if self.distillation else None
        fake = output.audio if output else self.generator.decode(mel)
        adversarial = self.step >= self.config.trainer.pretrain_steps
        logs = {"lr": torch.tensor(factor * self.config.optimizer.lr)}
        if adversarial:
            logs |= self._train_discriminators(audio, fake.detach(), factor)
        logs |= self._train_generator(audio, fake, mel, output, adversarial, factor)
        self.step += 1
        self.discriminator_steps += adversarial
        self.log("mel", logs["mel"], prog_bar=True, logger=False)
        return logs

    def _train_discriminators(self, real: Tensor, fake: Tensor, factor: float) -> dict[str, Tensor]:
        mpd, mrd = (hinge_discriminator(judge(real)[0], judge(fake)[0]) for judge in (self.mpd, self.mrd))
        loss = mpd + self.config.losses.mrd * mrd
        norm = self._take_step(1, loss, factor)
        return {"discriminator": loss.detach(), "norm_discriminator": norm}

    def _train_generator(self, real, fake, mel, output, adversarial, factor) -> dict[str, Tensor]:
        weights = self.config.losses
        with self.toggled_optimizer(self.optimizers()[0]):  # no gradients for the discriminators' weights
            with torch.autocast(real.device.type, enabled=False):
                distance = self.mel_loss(fake.float(), real.float())
            loss, logs = weights.mel * distance, {"mel": distance.detach()}
            if self.distillation:
                with torch.no_grad():
                    wanted = self._unstored[0].generate(mel)
                part, parts = self.distillation(output, wanted)
                loss = loss + part
                logs |= {"distillation": part.detach(), **parts}
            judges = (("mpd", self.mpd, 1.0), ("mrd", self.mrd, weights.mrd))
            for name, judge, weight in judges if adversarial else ():
                with torch.no_grad():
                    of_real = judge(real)[1]
                scores, of_fake = judge(fake)
                hinge, matching = hinge_generator(scores), feature_matching(of_real, of_fake)
                loss = loss + weight * (weights.adversarial * hinge + weights.feature_matching * matching)
                logs |= {f"hinge_{name}": hinge.detach(), f"matching_{name}": matching.detach()}
            norm = self._take_step(0, loss, factor)
        return {"generator": loss.detach(), "norm_generator": norm} | logs

    def _take_step(self, which: int, loss: Tensor, factor: float) -> Tensor:
        """Backward and step of one optimiser; returns the norm of its gradients before clipping."""
        optimizer, told = self.optimizers()[which], self.config.optimizer
        rate = (told.discriminator_lr or told.lr) if which else told.lr
        optimizer.param_groups[0]["lr"] = factor * rate
        optimizer.zero_grad()
        self.manual_backward(loss)
        limit = math.inf if told.clip_norm is None else told.clip_norm
        norm = nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], limit)
        optimizer.step()
        return norm

    def on_validation_epoch_start(self) -> None:
        """Begin to sum up."""
        self._distances: list[Tensor] = []
        self.heard = []
        self._firing = FiringRates(self.generator)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Copy-synthesis of one whole recording: its number (1,), its audio (1, S)."""
        number, real = batch
        fake = self.generator.decode(self.generator.features(real)).float()
        real = real[:, : fake.shape[1]]
        self._distances.append(self.mel_loss(fake, real))
        if len(self.heard) < self.config.trainer.pictures:
            name = self.trainer.datamodule.valid.recordings.names[int(number)]
            self.heard.append((name, real[0].cpu(), fake[0].cpu()))

    def on_validation_epoch_end(self) -> None:
        """Mean mel distance over the recordings and firing rates, of all processes together."""
        self._firing.close()
        sums = self._firing.sums().to(self.device)
        distance = sum(self._distances, sums.new_zeros(()))
        here = torch.cat([torch.stack([distance, distance.new_tensor(len(self._distances))]), sums.flatten()])
        total, count, *_ = everywhere = self.trainer.strategy.reduce(here, reduce_op="sum")
        self.rates = self._firing.rates(everywhere[2:].view_as(sums))
        self.valid_mel = float(total / count)
        if not math.isfinite(self.valid_mel):
            raise FloatingPointError(
                f"the generator gives no finite audio at step {self.step}; the last checkpoint is good. "
                "Train with a smaller optimizer.lr or optimizer.clip_norm"
            )
        self.log("valid_mel", self.valid_mel, logger=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the counts."""
        names = ("step", "discriminator_steps", "seconds")
        checkpoint["vocoder"] = {name: getattr(self, name) for name in names}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the counts back. Lightning's own are put aside: the data follow from the step alone."""
        counts = checkpoint["vocoder"]
        self.step, self.discriminator_steps = counts["step"], counts["discriminator_steps"]
        self._spent = counts["seconds"]
        checkpoint.pop("loops", None)


def schedule(step: int, steps: int, warmup_steps: int = 0) -> float:
    """The factor on the learning rate at a step: a linear rise, then half a cosine down to 0.

    >>> [round(schedule(step, 100), 3) for step in (0, 50, 100)], schedule(1, 100, warmup_steps=4)
    ([1.0, 0.5, 0.0], 0.5)
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _distillation(own: dict[str, Any], teacher: dict[str, Any], weights: LossConfig) -> DistillationLoss:
    for name in (*MEL_KEYS, "num_layers"):
        if own[name] != teacher[name]:
            raise ValueError(
                f"the teacher has {name}={teacher[name]}, the generator {own[name]}: every block and every "
                "frame is compared, so they must be alike; train a teacher with the generator's"
            )
    sizes = own["dim"], teacher["dim"], own["num_layers"], NeuronChoice(own["neuron"], own["steps"]).time
    return DistillationLoss(*sizes, weights.feature_weight, weights.output_weight, weights.phase_weight)
