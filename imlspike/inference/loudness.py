"""Loudness of speech by ITU-R BS.1770, and speech made as loud as others without clipping; without torch."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from imlspike.data.keys import check_number

LOUDNESS = -23.0  # LUFS, EBU R 128
LUFS = (-70.0, 0.0)  # that may be asked for
BLOCK = 0.4  # seconds that BS.1770 measures at once, a quarter of them on from one to the next
GATES = -70.0, -10.0  # LUFS, and LU below the mean of what is louder: blocks below don't count
SHELF, HIGH_PASS = (1500.0, 2**-0.5, 4.0), (38.0, 0.5)  # Hz, Q and dB of the K weighting
PEAK = 0.99


def loudness_of(audio: np.ndarray, sampling_rate: int) -> float:
    """The integrated loudness of mono audio (S,) in LUFS: K-weighted and gated; -inf for silence.

    What is shorter than a block of 0.4 s is as loud as if it went on: it is repeated. As
    `torchaudio.functional.loudness` of the audio with a peak of 1/4, so that quiet audio isn't gated.
    """
    wave, block = np.asarray(audio, np.float64), round(BLOCK * sampling_rate)
    peak = 4 * np.abs(wave).max(initial=0)
    if peak == 0:
        return -np.inf
    wave = k_weighted(np.tile(wave / peak, -(-block // len(wave))), sampling_rate)
    powers = np.square(sliding_window_view(wave, block)[:: round(block / 4)]).mean(1)
    loud = powers > 10 ** ((GATES[0] + 0.691) / 10)
    if not loud.any():
        return -np.inf
    powers = powers[loud]
    powers = powers[powers > powers.mean() * 10 ** (GATES[1] / 10)]
    return float(10 * np.log10(powers.mean()) - 0.691 + 20 * np.log10(peak))


def k_weighted(wave: np.ndarray, sampling_rate: int) -> np.ndarray:
    """BS.1770's filters on a waveform (S,): a treble shelf and a high pass, of the audio EQ cookbook.

    Products of spectra: behind half a second nothing is left of the filters' responses in fp64.
    """
    size = len(wave) + sampling_rate // 2
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(size))
    frequency, q, gain = SHELF
    cos, alpha = _pole(frequency, q, sampling_rate)
    root = 10 ** (gain / 40)
    up, down, slope = root + 1, root - 1, 2 * root**0.5 * alpha
    response = root * np.polyval(
        [up + down * cos - slope, -2 * (down + up * cos), up + down * cos + slope], z
    )
    response /= np.polyval([up - down * cos - slope, 2 * (down - up * cos), up - down * cos + slope], z)
    cos, alpha = _pole(*HIGH_PASS, sampling_rate)
    response *= (1 + cos) / 2 * (1 - z) ** 2 / np.polyval([1 - alpha, -2 * cos, 1 + alpha], z)
    return np.fft.irfft(np.fft.rfft(wave, size) * response, size)[: len(wave)]


def _pole(frequency: float, q: float, sampling_rate: int) -> tuple[float, float]:
    angle = 2 * np.pi * frequency / sampling_rate
    return np.cos(angle), np.sin(angle) / 2 / q


def scale_loudness(audio: np.ndarray, sampling_rate: int, target: float | None = LOUDNESS) -> np.ndarray:
    """Mono audio (S,) float32 as loud as `target`, in LUFS; None: as it is. Silence stays silence.

    Peaks that full scale has no room for are turned down, smoothly over 5 ms, and the rest up for it.
    """
    if target is None:
        return audio
    check_number("loudness", target, *LUFS)
    wave, reach = audio.astype(np.float64), sampling_rate // 200
    for _ in range(4):  # turning peaks down takes loudness away
        level = loudness_of(wave, sampling_rate)
        if level == -np.inf or (abs(level - target) < 0.05 and np.abs(wave).max() <= PEAK):
            break
        wave = wave * 10 ** ((target - level) / 20)
        over = np.maximum(np.abs(wave) / PEAK, 1)
        if over.max() > 1:
            held = sliding_window_view(np.pad(over, reach, constant_values=1), 2 * reach + 1).max(1)
            around, ones = np.ones(2 * reach + 1), np.ones_like(held)
            held, ones = (np.convolve(each, around)[reach : reach + len(wave)] for each in (held, ones))
            wave = wave * ones / held
    return wave.astype(np.float32)


def peaks_lowered(before: np.ndarray, after: np.ndarray) -> bool:
    """Return True if `scale_loudness` did not multiply all samples (S,) by the same."""
    heard = np.abs(before) > 1e-3 * np.abs(before).max(initial=0)
    ratio = after[heard] / before[heard]
    return bool(len(ratio)) and bool(ratio.min() < 0.99 * ratio.max())
