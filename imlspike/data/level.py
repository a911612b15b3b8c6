"""Level of the speech in samples, without torch; `imlspike.layers.level` has it for graphs and gradients."""

from collections.abc import Iterable

import numpy as np

FRAME, GATE, ROUNDS, MOST_GAIN = 0.025, 0.1, 4, 1e3  # as there


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
        powers.append(_power(held[:whole].reshape(-1, frame)))
        held = held[whole:]
    power = np.concatenate([np.zeros(0), *powers])
    if not len(power):
        power = _power(held[None]) if len(held) else np.zeros(1)
    mean = power.mean()
    for _ in range(ROUNDS):
        counts = power > GATE * mean
        mean = (power * counts).sum() / max(counts.sum(), 1)
    return float(mean)


def _power(frames: np.ndarray) -> np.ndarray:
    return np.square(frames - frames.mean(1, keepdims=True)).mean(1)


def gain_to(level: float, power: float) -> float:
    """The factor that brings speech of this power to `level` dB; at most 60 dB."""
    wanted = 10 ** (level / 20)
    return wanted / max(power**0.5, wanted / MOST_GAIN)
