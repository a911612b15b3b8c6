"""Level of the speech in samples, without torch; `imlspike.layers.level` has it for graphs and gradients."""

import numpy as np

FRAME, GATE, ROUNDS = 0.025, 0.1, 4  # as there


def speech_power(samples: np.ndarray, sampling_rate: int) -> float:
    """`imlspike.layers.level.speech_power` of samples (s,).

    >>> tone = np.sin(np.arange(16000.0))
    >>> round(speech_power(np.concatenate([tone, np.zeros(160000)]), 16000), 3)
    0.5
    """
    frame = max(1, min(round(FRAME * sampling_rate), len(samples)))
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    power = np.square(frames - frames.mean(1, keepdims=True)).mean(1)
    mean = power.mean() if len(power) else 0.0
    for _ in range(ROUNDS):
        counts = power > GATE * mean
        mean = (power * counts).sum() / max(counts.sum(), 1)
    return float(mean)
