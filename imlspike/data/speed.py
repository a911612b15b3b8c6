"""Speed perturbation (Ko et al., "Audio augmentation for speech recognition", Interspeech 2015)."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchaudio

from imlspike.data.audio import AudioError, read_audio
from imlspike.data.corpus import check_left_out
from imlspike.data.format import Suffix, frames_if_made_from, identity, write_16_bit
from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded, write_data_dir
from imlspike.data.parallel import map_parallel


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
    audio_format: Suffix = "wav",
    max_left_out: float = 0.05,
    nj: int = 1,
) -> list[Utterance]:
    """Write a data directory that holds `data_dir` once at each speed.

    At factor f an utterance and its speaker get the prefix `sp<f>-` (a voice at another speed is another
    speaker), and the recording goes to `output_dir/wav/<speaker>/sp<f>-<utterance>.<audio_format>`, 16-bit;
    peaks that resampling lifts over full scale are clipped. Factor 1 points at the original. A file of an
    earlier run is kept if it was made from the same source. `excluded.tsv` is taken along.

    Args:
        factors: the speeds, each once; 1 keeps the originals in.
        progress: called with (done, total) copies.
        max_left_out: the share of copies whose recording may be broken, or not mono at `sampling_rate`;
            they are left out and listed in `excluded.tsv`.
        nj: processes.

    Raises:
        ValueError: for factors that aren't positive or stand twice, if `output_dir` is `data_dir`, or if more
            is broken, naming the first files.
    """
    if len({f"{factor:g}" for factor in factors}) < len(factors) or not factors or min(factors) <= 0:
        raise ValueError(f"speed factors are {list(factors)}; expected positive numbers, each once")
    output_dir = Path(output_dir).resolve()
    if output_dir == Path(data_dir).resolve():
        raise ValueError(f"{output_dir}: the faster and slower copies need a directory of their own")
    originals = read_data_dir(data_dir)
    wanted = [(original, factor) for original in originals for factor in factors if factor != 1]
    for speaker in {_renamed(original, factor).speaker for original, factor in wanted}:
        (output_dir / "wav" / speaker).mkdir(parents=True, exist_ok=True)
    kept: list[Utterance] = []
    reasons: dict[str, str] = {}
    copies = map_parallel(
        partial(_copy, output_dir / "wav", audio_format, sampling_rate), wanted, nj, progress
    )
    for (original, factor), copy in zip(wanted, copies, strict=True):
        if isinstance(copy, Utterance):
            kept.append(copy)
        else:
            reasons[_renamed(original, factor).id] = copy
    if wanted:
        check_left_out({"other speeds": (kept, reasons)}, data_dir, max_left_out)
    kept += originals if 1 in factors else []
    write_data_dir(output_dir, kept, read_excluded(data_dir) | reasons)
    return sorted(kept, key=lambda utterance: utterance.id)


def _renamed(original: Utterance, factor: float) -> Utterance:
    """The utterance at another speed, as it is called."""
    prefix = f"sp{factor:g}-"
    return replace(original, id=prefix + original.id, speaker=prefix + original.speaker)


def _copy(
    wav_dir: Path, audio_format: Suffix, sampling_rate: int, wanted: tuple[Utterance, float]
) -> Utterance | str:
    """Write one utterance at another speed, or tell why not."""
    original, factor = wanted
    copy = _renamed(original, factor)
    target = wav_dir / copy.speaker / f"{copy.id}.{audio_format}"
    try:
        made_from = f"{factor:g} times as fast, {identity(Path(original.wav), sampling_rate)}"
        if (frames := frames_if_made_from(target, made_from)) is None:
            samples = read_audio(original.wav, sampling_rate, original.id)
            samples = change_speed(samples, factor, sampling_rate)
            write_16_bit(target, samples, sampling_rate, made_from)
            frames = len(samples)
    except AudioError as error:
        return str(error)
    return replace(copy, wav=str(target), seconds=frames / sampling_rate)
