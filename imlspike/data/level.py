"""Level of the speech in samples, without torch; `imlspike.layers.level` has it for graphs and gradients."""

from collections.abc import Iterable

import numpy as np

FRAME = 0.025  # seconds whose power is one value
GATE = 0.1  # a frame this much below the mean power (-10 dB) is a pause, as in ITU-R BS.1770
ROUNDS = 4  # of the gate: each has a mean with fewer pauses in it
MOST_GAIN = 1e3  # +60 dB: what is quieter holds the noise of a converter and no speech
# Of a level that is known of the past alone:
MEMORY = 1 - FRAME / 4  # how much a frame counts beside the next one: 4 s of speech count
RELEASE = 10 ** (-FRAME / 10)  # where no frame counts the level falls by 1 dB a second: a speaker went away
MOST_RUNNING_GAIN = 10**1.5  # +30 dB: of the silence before a first word no more is made


def speech_power(blocks: Iterable[np.ndarray], sampling_rate: int) -> float:
    """`imlspike.layers.level.speech_power` of a waveform that comes in blocks (s,); 0 of an empty one.

    >>> tone = np.sin(np.arange(16000.0))
    >>> round(speech_power([tone, np.zeros(160000)], 16000), 3)
    0.5
    """
    frame = round(FRAME * sampling_rate)
    held, powers = np.zeros(0, np.float32), []
    for block in blocks:
        held = np.concatenate([held, block])
        whole = len(held) // frame * frame
        powers.append(frame_powers(held[:whole].reshape(-1, frame)))
        held = held[whole:]
    power = np.concatenate([np.zeros(0), *powers])
    if not len(power):
        power = frame_powers(held[None]) if len(held) else np.zeros(1)
    mean = power.mean()
    for _ in range(ROUNDS):
        counts = power > GATE * mean
        mean = (power * counts).sum() / max(counts.sum(), 1)
    return float(mean)


class RunningLevel:
    """Level of the speech so far: `speech_power` for a stream, in constant memory.

    The mean power of the frames so far that are no pauses, newer ones counting more. A frame over ten times
    the mean shows that what was counted before it were pauses, and starts the mean anew.

    >>> level = RunningLevel()
    >>> [round(power, 3) for power in level.add([0.001, 0.002, 0.5, 0.5, 0.0])]
    [0.001, 0.002, 0.5, 0.5, 0.497]
    """

    def __init__(self):
        self.sum = self.count = 0.0

    def add(self, powers: Iterable[float]) -> list[float]:
        """The level, a power, behind each of the next frames of these powers."""
        levels = []
        for power in powers:
            mean = self.sum / self.count if self.count else 0.0
            if GATE * power > mean:
                self.sum, self.count = power, 1.0
            elif power > GATE * mean:
                self.sum, self.count = MEMORY * self.sum + power, MEMORY * self.count + 1
            else:
                self.sum *= RELEASE
            levels.append(self.sum / self.count if self.count else 0.0)
        return levels


def frame_powers(frames: np.ndarray) -> np.ndarray:
    """(..., samples) -> (...), without what is constant."""
    return np.square(frames - frames.mean(-1, keepdims=True)).mean(-1)


def gain_to(level: float, power: float | np.ndarray) -> float | np.ndarray:
    """The factor that brings speech of this power to `level` dB; at most 60 dB."""
    wanted = 10 ** (level / 20)
    return wanted / np.maximum(np.sqrt(power), wanted / MOST_GAIN)


def running_gain(level: float, power: np.ndarray) -> np.ndarray:
    """`gain_to` for the level of a stream: at most 30 dB."""
    return np.minimum(gain_to(level, power), MOST_RUNNING_GAIN)
