"""The data module: random pieces to train on, whole recordings to validate on."""

from functools import cached_property
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader

from imlspike.data.vocoder_dataset import RandomCrops, Recordings, WholeRecordings, step_batches
from imlspike.layers.level import speech_power
from imlspike.training.config import VocoderConfig


class VocoderData(LightningDataModule):
    """Pieces of the training recordings and whole validation recordings, shared out among the processes.

    One epoch of Lightning is what lies between two validations. The pieces of a step follow from its number,
    so a resumed training takes the loader from where it is.

    `generator` has all arguments of the generator (its `config`): rate, hop and FFT size are checked.
    ValueError, AudioError: as in `imlspike.data.vocoder_dataset`; pieces that are no whole number of hops,
    validation recordings too short to take a spectrogram of.
    """

    allow_zero_length_dataloader_with_multiple_devices = True  # fewer validation recordings than processes

    def __init__(self, config: VocoderConfig, generator: dict[str, Any]):
        super().__init__()
        told, hop, n_fft = config.data, generator["hop_length"], generator["n_fft"]
        if told.crop_samples % hop or told.crop_samples <= n_fft // 2:
            raise ValueError(
                f"data.crop_samples={told.crop_samples} must be a multiple of generator.hop_length={hop} "
                f"and above half of generator.n_fft={n_fft}"
            )
        self.config = config
        first = rank_zero_only.rank == 0
        train, valid = (
            Recordings(folders, generator["sampling_rate"], told.resample, told.cache_gb, progress=first)
            for folders in (config.train_dirs, config.valid_dirs)
        )
        self.train = RandomCrops(train, told.crop_samples, config.trainer.seed, told.short, told.gain_db)
        self.valid = WholeRecordings(valid, told.valid_utterances)
        for index in self.valid.used:
            if (length := valid.lengths[index]) <= n_fft // 2:
                raise ValueError(
                    f"{valid.names[index]} ({valid.paths[index]}): {length} samples are too few to validate "
                    f"on; expected more than {n_fft // 2}. Take it out of wav.scp"
                )

    @cached_property
    def level(self) -> float | None:
        """Median level of the speech of the validation recordings, dB; None of silent ones."""
        power = torch.stack(
            [speech_power(wave, self.valid.recordings.sampling_rate) for _, wave in self.valid]
        )
        return round(10 * power.median().log10().item(), 1) if power.median() > 0 else None

    def describe(self) -> list[str]:
        """Lines that say how much there is, and what is short."""
        train, told = self.train.recordings, self.config.data
        short = {"pad": "padded with zeros", "drop": "left out"}[told.short]
        where = "in memory" if train.cached else "read from their files"
        return [
            f"training: {len(train)} recordings, {train.seconds / 60:.1f} minutes, {where}; "
            f"{self.train.short} are shorter than {told.crop_samples} samples and {short}",
            f"validation: {len(self.valid)} of {len(self.valid.recordings)} recordings",
        ]

    def train_dataloader(self) -> DataLoader:
        """Batches (B, S) from the step that training has reached up to the next validation."""
        step, told, trainer = self.trainer.lightning_module.step, self.config.trainer, self.trainer
        last = min(told.steps, (step // told.validate_every + 1) * told.validate_every)
        place = trainer.global_rank, trainer.world_size
        batches = step_batches(step, last, self.config.data.batch_size, *place)
        return DataLoader(self.train, batch_sampler=batches, **self._workers())

    def val_dataloader(self) -> DataLoader:
        """This process's share of the whole recordings, one by one."""
        share = range(self.trainer.global_rank, len(self.valid), self.trainer.world_size)
        return DataLoader(self.valid, sampler=share, batch_size=1, **self._workers())

    def _workers(self) -> dict:
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        return {"num_workers": self.config.data.num_workers, "pin_memory": on_gpu}
