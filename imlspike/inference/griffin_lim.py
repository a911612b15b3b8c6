"""Griffin-Lim: a waveform from a log-mel spectrogram by an algorithm that learns nothing, the baseline."""

from threading import Lock

import numpy as np
import torch
import torchaudio
from torch import Tensor

from imlspike.layers.log_mel import LogMel

SEEDED = Lock()  # torch's generator is one for all threads


@torch.no_grad()
def griffin_lim(features: LogMel, log_mel: Tensor, iterations: int = 32) -> Tensor:
    """The waveform (B, (L - 1) hop_length) of a log-mel spectrogram (B, n_mels, L) made by `features`.

    The mel bands are inverted by their pseudo-inverse, what gets negative is set to 0; phases by torchaudio's
    Griffin-Lim with a momentum of 0.99, from the same random ones at each call.

    >>> features = LogMel(16000, 512, 128, 40)
    >>> griffin_lim(features, features(torch.randn(1, 2000)), iterations=2).shape
    torch.Size([1, 1920])
    """
    magnitude = (torch.linalg.pinv(features.bands) @ log_mel.exp()).clamp(min=0)
    with SEEDED, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torchaudio.functional.griffinlim(
            magnitude,
            features.window,
            features.n_fft,
            features.hop_length,
            features.n_fft,
            power=1.0,
            n_iter=iterations,
            momentum=0.99,
            length=(log_mel.shape[-1] - 1) * features.hop_length,
            rand_init=True,
        )


class GriffinLim:
    """Mel spectrograms to audio without a model, in the place of an `imlspike.inference.Vocoder`.

    Args:
        features: arguments of `LogMel`.
        device: where to run.
    """

    name = "griffin_lim"

    def __init__(self, features: dict, device: str | torch.device = "cpu"):
        self.features = LogMel(**features).to(device)

    def decode(self, mel: np.ndarray | Tensor) -> Tensor:
        """The audio ((L - 1) * hop_length,) of a log-mel (n_mels, L), on its device."""
        mel = torch.as_tensor(mel)
        if mel.shape[-1] < 2:  # one frame alone is the middle of no samples
            return mel.new_zeros(0)
        return griffin_lim(self.features, mel[None].to(self.features.window))[0].to(mel.device)
