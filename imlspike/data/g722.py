"""A decoder of ITU-T G.722 at 64 kbit/s: headerless bytes to 16 kHz waveforms, many recordings at once.

A byte holds 6 bits of the band up to 4 kHz and 2 bits of the band above. Each band is adaptive differential
PCM: a code times an adaptive scale is added to what a predictor of two poles and six zeros expects, and
predictor and scale follow the codes. Two mirror filters of 12 taps join the bands. All arithmetic is that of
the recommendation, in integers, so the samples are exact. The predictors have to be followed from code to
code; what makes this quick is that the codes of many recordings are followed side by side.
"""

from collections.abc import Sequence

import numpy as np

SAMPLING_RATE = 16000

# The recommendation's tables: inverse quantisers of 6, 4 and 2 bits, what a code does to the logarithm of the
# scale, powers of two by 1/32, and the mirror filter.
_UP_6 = (24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000)
_UP_6 += (5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136)
_OUT_6 = np.array([-136] * 4 + [-level for level in _UP_6[:28]] + [*_UP_6, -432, -136])
_UP_4 = (20456, 12896, 8968, 6288, 4240, 2584, 1200)
_OUT_4 = np.array([0, *(-level for level in _UP_4), *_UP_4, 0])
_OUT_2 = np.array([-7408, -1616, 7408, 1616])
_STEP_OF_LEVEL = (-60, 3042, 1198, 538, 334, 172, 58, -30)
_STEP_4 = np.array([*_STEP_OF_LEVEL, *_STEP_OF_LEVEL[1:], -60])
_STEP_2 = np.array([798, -214, 798, -214])
_EXPONENTIAL = np.array(
    [2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896]
    + [2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008]
)
_MIRROR = np.array([3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11], dtype=np.int32)
_LOG_LIMIT = np.array([[18432], [22528]])  # of the lower and the upper band
_LOG_SHIFT = np.array([[8], [10]])


def decode_g722(streams: Sequence[bytes]) -> list[np.ndarray]:
    """Decode recordings of G.722 (mode 1, 64 kbit/s, as Asterisk's files have it), each from its beginning.

    Takes memory and time as if all were as long as the longest, some 30 bytes and 0.1 ms a byte of it.

    Args:
        streams: bytes of each recording, one for two samples.

    Returns: int16 arrays `(2 * bytes,)` at 16 kHz, in the order of `streams`.

    >>> [len(samples) for samples in decode_g722([b"", bytes(80)])]
    [0, 160]
    """
    codes = np.zeros((max(map(len, streams), default=0), len(streams)), dtype=np.uint8)
    for column, stream in enumerate(streams):
        codes[: len(stream), column] = np.frombuffer(stream, dtype=np.uint8)
    samples = _join_bands(*_decode_bands(codes))
    return [samples[: 2 * len(stream), column] for column, stream in enumerate(streams)]


def _decode_bands(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes `(steps, N)` to the two bands' samples, each `(steps, N)`, at 8 kHz."""
    bands = np.empty((2, *codes.shape), dtype=np.int32)
    predictor = _Predictor(codes.shape[1])
    logarithm = np.zeros((2, codes.shape[1]), dtype=np.int64)
    scale = logarithm + [[32], [8]]
    for i, code in enumerate(codes):
        low, high = code & 63, code >> 6
        heard = np.stack([_OUT_6[low], _OUT_2[high]])
        adapting = np.stack([_OUT_4[low >> 2], _OUT_2[high]])  # what the predictor is told, without two bits
        bands[:, i] = np.clip(predictor.expected + (scale * heard >> 15), -16384, 16383)
        predictor.follow(scale * adapting >> 15)
        step = np.stack([_STEP_4[low >> 2], _STEP_2[high]])
        logarithm = np.clip((logarithm * 127 >> 7) + step, 0, _LOG_LIMIT)
        shift = _LOG_SHIFT - (logarithm >> 11)
        mantissa = _EXPONENTIAL[logarithm >> 6 & 31]
        scale = np.where(shift < 0, mantissa << np.maximum(-shift, 0), mantissa >> np.maximum(shift, 0)) << 2
    return bands[0], bands[1]


class _Predictor:
    """Two poles and six zeros for each band of each recording; `expected` `(2, N)` is the next sample."""

    def __init__(self, streams: int):
        self.expected, self.from_zeros = np.zeros((2, 2, streams), dtype=np.int64)
        # The last and the one before: coefficients, samples as they are heard, and without the poles' part.
        self.poles, self.samples, self.partial = np.zeros((3, 2, 2, streams), dtype=np.int64)
        self.zeros, self.differences = np.zeros((2, 6, 2, streams), dtype=np.int64)

    def follow(self, difference: np.ndarray) -> None:
        """Take in the quantised difference `(2, N)` of a sample from what was expected."""
        sample = _saturate(self.expected + difference)
        partial = _saturate(self.from_zeros + difference)
        self._adapt_poles(partial)
        self._adapt_zeros(difference)
        self.samples = np.stack([sample, self.samples[0]])
        self.partial = np.stack([partial, self.partial[0]])
        self.differences = np.concatenate([difference[None], self.differences[:-1]])
        from_poles = _saturate((self.poles * _saturate(2 * self.samples) >> 15).sum(0))
        self.from_zeros = _saturate((self.zeros * _saturate(2 * self.differences) >> 15).sum(0))
        self.expected = _saturate(from_poles + self.from_zeros)

    def _adapt_poles(self, partial: np.ndarray) -> None:
        last, before = self.poles
        as_last = (partial < 0) == (self.partial[0] < 0)
        as_before = (partial < 0) == (self.partial[1] < 0)
        grown = _saturate(4 * last)
        drift = np.minimum(np.where(as_last, -grown, grown), 32767) >> 7
        second = drift + np.where(as_before, 128, -128) + (before * 32512 >> 15)
        second = np.clip(second, -12288, 12288)
        limit = 15360 - second
        first = np.where(as_last, 192, -192) + (last * 32640 >> 15)
        self.poles = np.stack([np.clip(first, -limit, limit), second])

    def _adapt_zeros(self, difference: np.ndarray) -> None:
        alike = (self.differences < 0) == (difference < 0)
        step = np.where(difference == 0, 0, 128)
        self.zeros = _saturate(np.where(alike, step, -step) + (self.zeros * 32640 >> 15))


def _saturate(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -32768, 32767)


def _join_bands(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Bands `(steps, N)` at 8 kHz to int16 samples `(2 * steps, N)` at 16 kHz."""
    silence = np.zeros((len(_MIRROR) - 1, low.shape[1]), dtype=np.int32)
    total = np.concatenate([silence, low + high])
    difference = np.concatenate([silence, low - high])
    count = len(low)
    samples = np.zeros((count, 2, low.shape[1]), dtype=np.int32)
    for tap, weight in enumerate(_MIRROR):
        samples[:, 1] += weight * total[tap : tap + count]
        samples[:, 0] += _MIRROR[-1 - tap] * difference[tap : tap + count]
    return _saturate(samples >> 11).astype(np.int16).reshape(2 * count, low.shape[1])
