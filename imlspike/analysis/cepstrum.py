"""Mel-cepstra from power spectra, and their distance in dB: what the MCD of vocoders and of voices share."""

import functools

import numpy as np
import torch
import torchaudio

COEFFICIENTS, BANDS = 24, 40  # of the mel-cepstrum
SPEECH, FLOOR = 1e-5, 1e-8  # power: frames of speech against the loudest one, bands against the strongest


def power_spectrum(samples: np.ndarray, rate: int, shift: int) -> np.ndarray:
    """Power of short-time spectra, (F, L): Hann windows of 25 ms, centred on multiples of `shift` samples.

    >>> power_spectrum(np.zeros(1600, dtype=np.float32), 16000, 80).shape
    (257, 21)
    """
    wave, window = torch.from_numpy(samples).double(), torch.hann_window(rate // 40, dtype=torch.float64)
    options = dict(win_length=rate // 40, window=window, pad_mode="constant", return_complex=True)
    size = 1 << (rate // 40 - 1).bit_length()
    return torch.stft(wave, size, shift, **options).abs().square().numpy()


def mel_powers(spectrum: np.ndarray, rate: int) -> np.ndarray:
    """Power in 40 bands of the HTK mel scale, from that of F frequencies to half the rate: (F, L) to (40, L).

    >>> mel_powers(np.ones((257, 3)), 16000).shape
    (40, 3)
    """
    return _bands(len(spectrum), rate) @ spectrum


@functools.cache
def _bands(frequencies: int, rate: int) -> np.ndarray:
    return torchaudio.functional.melscale_fbanks(frequencies, 0.0, rate / 2, BANDS, rate).T.double().numpy()


def speech_frames(powers: np.ndarray) -> np.ndarray:
    """Which frames of (40, L) are speech, (L,): those at most 50 dB softer than the loudest one.

    Raises:
        ValueError: for digital silence.
    """
    if not powers.any():
        raise ValueError("the natural waveform is silence")
    level = powers.sum(0)
    return level >= level.max() * SPEECH


def mel_cepstrum(powers: np.ndarray, strongest: float) -> np.ndarray:
    r"""Mel-cepstrum without c_0, the level: (40, L) -> (24, L).

    .. math:: c_d = \frac{1}{K} \sum_{k=0}^{K-1} \ln P_k \cos \frac{\pi d (k + 1/2)}{K}, \quad K = 40

    Args:
        powers: P.
        strongest: power; what lies more than 80 dB under it is raised to there.

    >>> cepstrum = mel_cepstrum(np.ones((40, 3)), 1.0)  # of a flat spectrum
    >>> cepstrum.shape, bool(cepstrum.any())
    ((24, 3), False)
    """
    degrees, centres = np.arange(1, COEFFICIENTS + 1), np.arange(BANDS) + 0.5
    cosines = np.cos(np.pi * degrees[:, None] * centres / BANDS) / BANDS
    return cosines @ np.log(np.maximum(powers, strongest * FLOOR))


def distortion(natural: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    r"""Distance of two mel-cepstra frame by frame, in dB (Kubichek 1993): two of (24, L) -> (L,).

    .. math:: \frac{10}{\ln 10} \sqrt{2 \sum_{d=1}^{24} (c_d - \hat c_d)^2}

    >>> distortion(np.zeros((24, 2)), np.zeros((24, 2)))
    array([0., 0.])
    """
    return 10 / np.log(10) * np.sqrt(2 * ((natural - synthetic) ** 2).sum(0))
