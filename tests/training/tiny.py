"""Trainings that take seconds, on tones."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from imlspike.data.files import write_kaldi
from imlspike.training.config import DataConfig, OptimizerConfig, TrainerConfig, VocoderConfig

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


def in_forks(run: Callable[[int], object], count: int = 1) -> list[int | None]:
    """Run in processes that import nothing anew; their exit codes, None for one that was still at it."""
    fork = torch.multiprocessing.get_context("fork")
    processes = [fork.Process(target=run, args=(rank,)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


def main(folder: Path) -> None:
    """Train in two processes, the second of which Lightning starts; each leaves its weights in rank<n>.pt."""
    from imlspike.training.run import train

    torch.set_num_threads(1)
    trained = train(config_for(folder / "data", "none", devices=2), folder / "exp")
    torch.save(trained.state_dict(), folder / f"rank{trained.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
