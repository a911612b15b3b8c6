"""Several channels to one, and floats of another scale to full scale 1: decided by the whole recording."""

from collections.abc import Iterable
from typing import Literal

import numpy as np

from imlspike.data.container_audio import AudioError

Channel = int | Literal["mix"]
CHOICES = "'mix' or a channel's number, from 1"
SILENT = 1e-3  # times the strongest channel's power (-30 dB)
LAG, COPY, ALIGNED = (
    0.01,
    0.7,
    0.95,
)  # seconds that a copy may be late by; its correlation; that without a lag
MOST_COMPARED = 8  # channels that are compared for lags, in pairs
OPPOSITE = -0.5  # correlation with the strongest channel
LOUDEST = 8.0  # that floats with full scale at 1 reach (18 dB above it)
INTEGERS = (128.0, 2.0 * 2**15)  # between these lies the greatest of floats in the scale of 16-bit integers


def check_channel(channel: Channel) -> None:
    """ValueError for what is no choice of a channel."""
    if channel != "mix" and (type(channel) is not int or channel < 1):
        raise ValueError(f"channel is {channel!r}; expected {CHOICES}")


class Survey:
    """Statistics of a recording's channels and scale, gathered from its blocks `(s, channels)`.

    The mix is the mean of the channels that aren't silent (within 30 dB of the strongest one), so that silent
    ones don't make it weaker; one whose correlation with the strongest is below -0.5 is turned over, so that
    they don't cancel; one that is the strongest up to 10 ms earlier or later (two microphones) is left out:
    the mix would be a comb. The rule is one for the whole recording, however it is cut into blocks.

    Args:
        who: the file, for errors; strict: refuse floats of another scale; floats: samples are stored so;
        rate: in Hz.

    Attributes:
        weights: (channels,), of the mix; scale: that samples are multiplied by; notes: what was decided.

    Raises:
        AudioError: for floats beyond full scale that aren't in the scale of 16-bit integers.

    >>> sound, zeros = np.array([0.5, -0.5, 0.25]), np.zeros(3)
    >>> survey = Survey([np.stack([zeros, sound, -sound], axis=1)], "a.wav")
    >>> survey.weights.tolist(), survey.notes
    ([0.0, 0.5, -0.5], ['3 channels mixed down to one: 1 left out (silent), 3 turned (opposite phase)'])
    """

    def __init__(
        self,
        blocks: Iterable[np.ndarray],
        who: str,
        strict: bool = False,
        floats: bool = False,
        rate: int = 16000,
    ):
        lags = _Lags(round(LAG * rate))
        peak, count, sums, products = 0.0, 0, np.zeros(()), np.zeros(())
        for block in blocks:
            peak = max(peak, float(np.abs(block).max(initial=0)))
            count, sums = count + len(block), sums + block.sum(axis=0, dtype=np.float64)
            lags.add(block)
            products = products + block.T.astype(np.float64) @ block.astype(np.float64)
        self.notes: list[str] = []
        self.scale = 1.0
        if floats and peak > LOUDEST:
            told = f"beyond full scale (the greatest sample is {peak:.6g})"
            if strict or not INTEGERS[0] <= peak <= INTEGERS[1]:
                raise AudioError(f"{who}: {told}; write it again with full scale at 1")
            self.scale = 1 / 2**15
            self.notes.append(f"{told}: taken for the scale of 16-bit integers and divided by 32768")
        products = products - np.outer(sums, sums) / max(1, count)  # a constant offset is no sound
        power, strongest = np.diag(products).clip(min=0), int(np.argmax(np.diag(products)))
        heard = power >= SILENT * power[strongest]
        norms = np.sqrt(power * power[strongest])
        correlation = np.divide(products[strongest], norms, out=np.zeros(len(power)), where=norms > 0)
        late = heard & lags.are_copies(strongest, len(power))
        heard &= ~late
        turned = heard & (correlation < OPPOSITE)
        self.weights = np.where(turned, -1.0, 1.0) * heard / heard.sum()
        if len(power) > 1:
            odd = {
                "left out (silent)": ~heard & ~late,
                "left out (the same, earlier or later)": late,
                "turned (opposite phase)": turned,
            }
            told = [f"{_numbers(which)} {what}" for what, which in odd.items() if which.any()]
            self.notes.append(f"{len(power)} channels mixed down to one{': ' * bool(told)}{', '.join(told)}")

    def mix(self, samples: np.ndarray, channel: Channel = "mix") -> np.ndarray:
        """A block `(s, channels)` as float32 `(s,)`."""
        mono = samples @ self.weights if channel == "mix" else samples[:, channel - 1]
        return (mono * self.scale).astype(np.float32)


class _Lags:
    """Cross-correlations of all pairs of channels up to a lag in samples, of blocks `(s, channels)`."""

    def __init__(self, most: int):
        self.most, self.frame, self.held = most, 4 * most, np.zeros((0, 0))
        self.spectra = np.zeros(())  # (bins, channels, channels)

    def add(self, block: np.ndarray) -> None:
        """Take a block; what is left of it after whole frames is kept."""
        if not 1 < block.shape[1] <= MOST_COMPARED:
            return
        self.held = np.concatenate([self.held.reshape(-1, block.shape[1]), block])
        whole = len(self.held) // self.frame * self.frame
        for at in range(0, whole, self.frame):
            self._add_frame(self.held[at : at + self.frame])
        self.held = self.held[whole:]

    def _add_frame(self, samples: np.ndarray) -> None:
        spectrum = np.fft.rfft(samples, 2 * self.frame, axis=0)[2:]  # without what is constant
        self.spectra = self.spectra + spectrum.conj()[:, :, None] * spectrum[:, None]

    def are_copies(self, strongest: int, channels: int) -> np.ndarray:
        """Tell of each channel (channels,) that it is the strongest one, earlier or later."""
        if len(self.held):
            self._add_frame(self.held)
        if not self.spectra.ndim:
            return np.zeros(channels, dtype=bool)
        padded = np.concatenate([np.zeros((2, channels, channels)), self.spectra])
        power = padded[:, range(channels), range(channels)].real.sum(axis=0)
        lagged = np.abs(np.fft.irfft(padded[:, strongest], axis=0)) * self.frame
        norms = np.sqrt(power * power[strongest])
        lagged = np.divide(lagged, norms, out=np.zeros_like(lagged), where=norms > 0)
        best = np.maximum(lagged[1 : self.most + 1].max(axis=0), lagged[-self.most :].max(axis=0))
        return (best > COPY) & (lagged[0] < ALIGNED * best)


def _numbers(which: np.ndarray) -> str:
    return ", ".join(str(number) for number in np.flatnonzero(which) + 1)
