"""Level of speech in a waveform, and waveforms brought to one level: a recording's gain must not matter.

Not the LUFS of torchaudio, whose gate at -70 is absolute: quiet recordings would get another gain.
"""

import torch
from torch import Tensor

from imlspike.data.level import FRAME, GATE, MOST_GAIN, MOST_RUNNING_GAIN, ROUNDS, RunningLevel


def speech_power(waveform: Tensor, sampling_rate: int) -> Tensor:
    """Mean power (...) of the frames of a waveform (..., S) that are no pauses; 0 of silence.

    Frames of 25 ms whose power is over a tenth of the mean count; the mean is that of all frames at first,
    then of those that counted, four times. So silence or faint noise around speech doesn't matter; nor does a
    constant offset, as frames are taken without their mean.

    >>> tone = torch.sin(torch.arange(16000.0))
    >>> round(speech_power(torch.cat([tone, torch.zeros(160000)]), 16000).item(), 3)
    0.5
    """
    frame = round(FRAME * sampling_rate)
    if not torch.compiler.is_compiling():  # an exporter would take the example's length for every length
        frame = min(frame, waveform.shape[-1])
    return _gated_mean(frame_powers(waveform.unfold(-1, frame, frame)))


def running_gains(waveform: Tensor, sampling_rate: int, level: float, ends: Tensor) -> Tensor:
    """The factors (L,) that bring the speech so far to `level` dB at samples `ends` (L,) of a waveform (S,).

    A stretch of less than the first frame, 25 ms, has that frame's level.

    >>> wave = torch.sin(torch.arange(800.0))
    >>> running_gains(wave, 16000, -20, torch.tensor([100, 800])).round(decimals=2)
    tensor([0.1400, 0.1400])
    """
    if torch.compiler.is_compiling():
        raise ValueError("causal_level: the level of a stream can't be exported; give its gains from outside")
    frame = min(round(FRAME * sampling_rate), len(waveform))
    levels = RunningLevel().add(frame_powers(waveform.unfold(0, frame, frame)).tolist())
    last = (ends // frame - 1).clamp(0, len(levels) - 1)
    return gain_to(level, torch.tensor(levels).to(waveform)[last]).clamp(max=MOST_RUNNING_GAIN)


def frame_powers(frames: Tensor) -> Tensor:
    """(..., samples) -> (...), without what is constant."""
    return (frames - frames.mean(-1, keepdim=True)).square().mean(-1)


def _gated_mean(power: Tensor) -> Tensor:
    """(..., frames) -> (...)."""
    mean = power.mean(-1, keepdim=True)
    for _ in range(ROUNDS):
        counts = (power > GATE * mean).to(power.dtype)
        mean = (power * counts).sum(-1, keepdim=True) / counts.sum(-1, keepdim=True).clamp(min=1)
    return mean.squeeze(-1)


def normalize_level(waveform: Tensor, sampling_rate: int, level: float) -> Tensor:
    """A waveform (..., S) scaled so that its speech has the root mean square `level` dB under full scale 1.

    The gain is the same for the whole waveform, and at most 60 dB.

    Args:
        waveform: of one channel, not empty.
        level: dB, as -20.

    >>> tone = torch.sin(torch.arange(16000.0))
    >>> torch.allclose(normalize_level(1e-2 * tone, 16000, -20), normalize_level(tone, 16000, -20))
    True
    """
    return waveform * gain_to(level, speech_power(waveform, sampling_rate))[..., None]


def gain_to(level: float, power: Tensor) -> Tensor:
    """The factor (...) that brings speech of this power (...) to `level` dB; at most 60 dB."""
    wanted = 10 ** (level / 20)
    return wanted / power.sqrt().clamp(min=wanted / MOST_GAIN)
