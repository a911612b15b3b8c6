"""Mel spectrograms: what tells one kind from another, and files of them (NumPy's .npy or torch's .pt)."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SUFFIXES = (".npy", ".pt")
MEL_KEYS = ("sampling_rate", "n_fft", "hop_length", "n_mels", "f_min", "f_max")


def open_mel(path: str | os.PathLike) -> np.ndarray:
    """Open the array in a .npy or .pt file, (n_mels, L) or (1, n_mels, L), as (n_mels, L).

    A .npy stays on the disk until parts of it are looked at (a memory map).

    Raises:
        ValueError: naming the file, if it is damaged, holds something else, or has another number of axes.
    """
    try:
        if Path(path).suffix.lower() == ".npy":
            mel = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            import torch

            mel = torch.load(path, map_location="cpu", weights_only=True)
    except (ValueError, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        hint = "expected what numpy.save or torch.save writes for one mel spectrogram"
        raise ValueError(f"{path}: not readable as an array ({error}); {hint}") from None
    if hasattr(mel, "detach"):
        mel = mel.detach().float().numpy() if mel.is_floating_point() else mel.numpy()
    if not isinstance(mel, np.ndarray):
        raise ValueError(f"{path}: holds a {type(mel).__name__}; expected one mel spectrogram")
    if mel.ndim == 3 and len(mel) == 1:
        mel = mel[0]
    if mel.ndim != 2:
        raise ValueError(f"{path}: has shape {mel.shape}; expected (n_mels, frames)")
    return mel


def mel_blocks(mel: np.ndarray, frames: int = 1000) -> Iterator[np.ndarray]:
    """A mel spectrogram (n_mels, L) in blocks of at most so many frames, copied from where it lies."""
    for start in range(0, mel.shape[1], frames):
        yield np.array(mel[:, start : start + frames])
