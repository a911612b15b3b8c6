"""Griffin-Lim in a vocoder's place: it needs no training, and sounds like it."""

import numpy as np
import torch
from torch import Tensor

from imlspike.analysis.griffin_lim import ITERATIONS, griffin_lim
from imlspike.models.vocoder_parts import LogMelFeatures


class GriffinLim:
    """Mel spectrograms of these settings to audio; `decode` is that of `imlspike.inference.Vocoder`.

    Args:
        features: arguments of `LogMelFeatures`.
        device: where to run.
        iterations: see `imlspike.analysis.griffin_lim`.

    >>> vocoder = GriffinLim(dict(sampling_rate=8000, n_fft=64, hop_length=16, n_mels=8))
    >>> vocoder.decode(torch.zeros(8, 11)).shape
    torch.Size([160])
    """

    name = "griffin_lim"

    def __init__(self, features: dict, device: str | torch.device = "cpu", iterations: int = ITERATIONS):
        self.features, self.iterations = LogMelFeatures(**features).to(device), iterations

    def decode(self, mel: np.ndarray | Tensor) -> Tensor:
        """The audio ((L - 1) * hop_length,) of a log-mel (n_mels, L), on its device."""
        mel = torch.as_tensor(mel)
        if mel.shape[-1] < 2:  # one frame alone is the middle of no samples
            return mel.new_zeros(0)
        own = mel[None].to(self.features.window)  # its device and type
        return griffin_lim(self.features, own, self.iterations)[0].to(mel.device)
