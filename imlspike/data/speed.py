"""Speed perturbation (Ko et al., "Audio augmentation for speech recognition", Interspeech 2015)."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from imlspike.data.audio import read_audio
from imlspike.data.files import atomic_write
from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded, write_data_dir


def change_speed(samples: np.ndarray, factor: float, sampling_rate: int = 16000) -> np.ndarray:
    """Play `samples (n,)` `factor` times as fast, as sox's `speed` does: pitch and tempo both change.

    Returns: float32 (ceil(n / factor),) at the same rate.

    >>> change_speed(np.zeros(900, dtype=np.float32), 0.9).shape
    (1000,)
    """
    recorded_at = round(sampling_rate * factor)
    return torchaudio.functional.resample(torch.from_numpy(samples), recorded_at, sampling_rate).numpy()


def perturb_speed(
    data_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    factors: Sequence[float] = (0.9, 1.0, 1.1),
    sampling_rate: int = 16000,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Utterance]:
    """Write a data directory that holds `data_dir` once at each speed.

    At factor f an utterance and its speaker get the prefix `sp<f>-` (a voice at another speed is another
    speaker), and the recording goes to `output_dir/wav/sp<f>-<utterance>.wav`, 16-bit; peaks that resampling
    lifts over full scale are clipped. Factor 1 points at the original. `excluded.tsv` is taken along.

    Args:
        factors: the speeds, each once; 1 keeps the originals in.
        progress: called with (done, total) recordings.

    Raises:
        ValueError: for factors that aren't positive or stand twice, or if `output_dir` is `data_dir`.
        imlspike.data.audio.AudioError: for a recording that can't be read or isn't mono at `sampling_rate`.
    """
    if len({f"{factor:g}" for factor in factors}) < len(factors) or not factors or min(factors) <= 0:
        raise ValueError(f"speed factors are {list(factors)}; expected positive numbers, each once")
    output_dir = Path(output_dir).resolve()
    if output_dir == Path(data_dir).resolve():
        raise ValueError(f"{output_dir}: the faster and slower copies need a directory of their own")
    originals = read_data_dir(data_dir)
    wav_dir = output_dir / "wav"
    wav_dir.mkdir(parents=True, exist_ok=True)
    utterances: list[Utterance] = []
    for done, original in enumerate(originals, start=1):
        for factor in factors:
            utterances.append(original if factor == 1 else _copy(original, factor, sampling_rate, wav_dir))
        progress(done, len(originals))
    write_data_dir(output_dir, utterances, read_excluded(data_dir))
    return utterances


def _copy(original: Utterance, factor: float, sampling_rate: int, wav_dir: Path) -> Utterance:
    """Write `original` at another speed."""
    prefix = f"sp{factor:g}-"
    samples = change_speed(read_audio(original.wav, sampling_rate, original.id), factor, sampling_rate)
    wav = wav_dir / f"{prefix}{original.id}.wav"
    with atomic_write(wav, "wb") as out:
        soundfile.write(out, samples, sampling_rate, format="WAV", subtype="PCM_16")
    return replace(
        original,
        id=prefix + original.id,
        speaker=prefix + original.speaker,
        wav=str(wav),
        seconds=len(samples) / sampling_rate,
    )
