"""Loudness of speech by ITU-R BS.1770, and speech made as loud as others without clipping."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, max_pool1d
from torchaudio.functional import loudness

from imlspike.data.keys import check_number

LOUDNESS = -23.0  # LUFS, EBU R 128
LUFS = (-70.0, 0.0)  # that may be asked for
BLOCK = 0.4  # seconds that BS.1770 measures at once
PEAK = 0.99


def loudness_of(audio: np.ndarray | Tensor, sampling_rate: int) -> float:
    """The integrated loudness of mono audio (S,) in LUFS: K-weighted and gated; -inf for silence.

    What is shorter than a block of 0.4 s is as loud as if it went on: it is repeated.
    """
    wave, block = torch.as_tensor(audio).double(), round(BLOCK * sampling_rate)
    peak = float(wave.abs().max()) if len(wave) else 0.0
    if peak == 0:
        return -float("inf")
    wave = wave.repeat(-(-block // len(wave)))[None] / peak  # torchaudio's filters clip at 1
    level = loudness(wave / 4, sampling_rate)  # they may overshoot
    return float(level) + 20 * float(np.log10(4 * peak)) if level.isfinite() else -float("inf")


def scale_loudness(audio: np.ndarray, sampling_rate: int, target: float | None = LOUDNESS) -> np.ndarray:
    """Mono audio (S,) float32 as loud as `target`, in LUFS; None: as it is. Silence stays silence.

    Peaks that full scale has no room for are turned down, smoothly over 5 ms, and the rest up for it.
    """
    if target is None:
        return audio
    check_number("loudness", target, *LUFS)
    wave, reach = torch.from_numpy(audio).double()[None], sampling_rate // 200
    for _ in range(4):  # turning peaks down takes loudness away
        level = loudness_of(wave[0], sampling_rate)
        if level == -float("inf") or (abs(level - target) < 0.05 and float(wave.abs().max()) <= PEAK):
            break
        wave = wave * 10 ** ((target - level) / 20)
        over = (wave.abs() / PEAK).clamp(min=1)
        held = max_pool1d(over, 2 * reach + 1, 1, reach)
        wave = wave / avg_pool1d(held, 2 * reach + 1, 1, reach, count_include_pad=False)
    return wave[0].float().numpy()


def peaks_lowered(before: np.ndarray, after: np.ndarray) -> bool:
    """Return True if `scale_loudness` did not multiply all samples (S,) by the same."""
    heard = np.abs(before) > 1e-3 * np.abs(before).max(initial=0)
    ratio = after[heard] / before[heard]
    return bool(len(ratio)) and bool(ratio.min() < 0.99 * ratio.max())
