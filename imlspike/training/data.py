"""The data module: random pieces to train on, whole recordings to validate on."""

from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader

from imlspike.data.vocoder_dataset import RandomCrops, Recordings, StepBatches, WholeRecordings
from imlspike.training.config import VocoderConfig


class VocoderData(LightningDataModule):
    """Pieces of the training recordings and whole validation recordings, shared out among the processes.

    One epoch of Lightning is what lies between two validations. The pieces of a step follow from its number,
    so a resumed training takes the loader from where it is.

    Args:
        config: the training.
        generator: all arguments of the generator (its `config`): rate, hop and FFT size are checked.

    Attributes:
        train, valid: the datasets.

    Raises:
        ValueError, AudioError: as `imlspike.data.vocoder_dataset` does; for pieces that are no whole number
            of hops, or validation recordings too short to take a spectrogram of.
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
        self.config, self.sampling_rate = config, generator["sampling_rate"]
        seed = config.trainer.seed
        self.train = RandomCrops(
            self._read(config.train_dirs), told.crop_samples, seed, told.short, told.gain_db
        )
        self.valid = WholeRecordings(self._read(config.valid_dirs), told.valid_utterances)
        for index in self.valid.used:
            length, path = self.valid.recordings.lengths[index], self.valid.recordings.paths[index]
            if length <= n_fft // 2:
                raise ValueError(
                    f"{self.valid_name(index)} ({path}): {length} samples are too few to validate on; "
                    f"expected more than {n_fft // 2}. Take it out of wav.scp"
                )

    def _read(self, data_dirs) -> Recordings:
        told, first = self.config.data, rank_zero_only.rank == 0
        return Recordings(data_dirs, self.sampling_rate, told.resample, told.cache_gb, progress=first)

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

    def valid_name(self, index: int) -> str:
        """The utterance of a validation recording."""
        return self.valid.recordings.names[index]

    def train_dataloader(self) -> DataLoader:
        """Batches (B, S) from the step that training has reached up to the next validation."""
        step, told = self.trainer.lightning_module.step, self.config.trainer
        last = min(told.steps, (step // told.validate_every + 1) * told.validate_every)
        batches = StepBatches(
            step, last, self.config.data.batch_size, self.trainer.global_rank, self.trainer.world_size
        )
        return DataLoader(self.train, batch_sampler=batches, **self._workers())

    def val_dataloader(self) -> DataLoader:
        """This process's share of the whole recordings, one by one."""
        share = range(self.trainer.global_rank, len(self.valid), self.trainer.world_size)
        return DataLoader(self.valid, sampler=share, batch_size=1, **self._workers())

    def _workers(self) -> dict:
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        return {"num_workers": self.config.data.num_workers, "pin_memory": on_gpu}
