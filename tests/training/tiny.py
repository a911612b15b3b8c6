"""Trainings that take seconds, on tones. `python -m tests.training.tiny FOLDER ...` runs one in a process."""

import argparse
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch

from imlspike.data.files import write_kaldi
from imlspike.training.config import DataConfig, OptimizerConfig, TrainerConfig, VocoderConfig
from imlspike.training.log import TrainingLog

RATE = 8000
GENERATOR = {
    "sampling_rate": RATE,
    "n_fft": 128,
    "hop_length": 32,
    "n_mels": 12,
    "dim": 8,
    "intermediate_dim": 16,
    "num_layers": 2,
}
DISCRIMINATORS = {
    "mpd": {"periods": [2, 3], "channels": [4, 4]},
    "mrd": {"fft_sizes": [128, 64], "channels": 2, "bands": 2},
}


def write_tones(data_dir: Path) -> Path:
    """A data directory with six tones of 0.25 to 0.5 s."""
    data_dir.mkdir(parents=True, exist_ok=True)
    noise, paths = np.random.default_rng(0), {}
    for number in range(6):
        time = np.arange(2000 + 400 * number) / RATE
        wave = 0.3 * np.sin(2 * np.pi * (200 + 70 * number) * time) + 0.02 * noise.standard_normal(len(time))
        paths[f"tone_{number}"] = str(data_dir / f"{number}.wav")
        soundfile.write(paths[f"tone_{number}"], wave, RATE, "PCM_16")
    write_kaldi(data_dir / "wav.scp", paths)
    return data_dir


def config_for(data_dir: Path, neuron: str = "plif", batch_size: int = 2, **trainer) -> VocoderConfig:
    """Six steps of a tiny vocoder, the first two without discriminators; `trainer` changes that section."""
    told = {"steps": 6, "pretrain_steps": 2, "validate_every": 4, "log_every": 2, "pictures": 1}
    return VocoderConfig(
        train_dirs=[str(data_dir)],
        valid_dirs=[str(data_dir)],
        generator=GENERATOR | {"neuron": neuron},
        discriminators=DISCRIMINATORS,
        optimizer=OptimizerConfig(lr=1e-3, clip_norm=20.0),
        data=DataConfig(crop_samples=1024, batch_size=batch_size, valid_utterances=3),
        trainer=TrainerConfig(**told | {"accelerator": "cpu"} | trainer),
    )


def same(one: dict, other: dict) -> bool:
    """True if two state_dicts hold the same tensors, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def kill_while_saving(number: int) -> None:
    """SIGKILL with half of checkpoint file `number` on the disk."""
    save, count = torch.save, [0]

    def counting(obj, f, *args, **kwargs):
        count[0] += isinstance(obj, dict) and "optimizer_states" in obj
        if count[0] == number:
            f.write(b"half a checkpoint")
            f.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return save(obj, f, *args, **kwargs)

    torch.save = counting


def lose_on(rank: int) -> None:
    """Let the generator's loss be NaN, in one process only, from the first step on."""
    tell = TrainingLog.on_train_batch_end

    def with_nan(self, trainer, module, outputs, *rest):
        if trainer.global_rank == rank:
            outputs = outputs | {"generator": torch.tensor(float("nan"))}
        tell(self, trainer, module, outputs, *rest)

    TrainingLog.on_train_batch_end = with_nan


def main() -> None:
    """One training in this process; each of several processes leaves its weights in FOLDER/rank<n>.pt."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--neuron", default="plif")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--kill", type=int, default=0)
    parser.add_argument("--nan-on-rank", type=int)
    args = parser.parse_args()
    from imlspike.training.run import train

    torch.set_num_threads(1)
    if args.kill:
        kill_while_saving(args.kill)
    if args.nan_on_rank is not None:
        lose_on(args.nan_on_rank)
    config = config_for(args.folder / "data", args.neuron)
    config = replace(config, trainer=replace(config.trainer, devices=args.devices))
    trained = train(config, args.folder / "exp")
    torch.save(trained.state_dict(), args.folder / f"rank{trained.global_rank}.pt")


if __name__ == "__main__":
    main()
