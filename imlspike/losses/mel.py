"""The distance of two waveforms' log-mel spectrograms."""

import torch
from torch import Tensor, nn

from imlspike.layers.log_mel import LogMel


class MelLoss(nn.Module):
    """Mean absolute difference of two waveforms' log-mel spectrograms (the reconstruction loss of Vocos).

    Args:
        sampling_rate, n_fft, hop_length, n_mels, f_min, f_max: of `imlspike.layers.log_mel.LogMel`.

    Forward:
        audio: (B, S) in [-1, 1], the generator's; floating point.
        target: (B, S), likewise. No gradient goes back to it.

    Returns:
        a scalar.

    Raises:
        ValueError: waveforms of different shapes, or shorter than half a window.

    >>> loss = MelLoss(sampling_rate=16000, n_fft=512, hop_length=128, n_mels=40)
    >>> noise = torch.randn(2, 4000)
    >>> round(float(loss(noise, noise / torch.e)), 4)              # softer by one neper in each band
    1.0
    """

    def __init__(
        self,
        sampling_rate: int = 24000,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mels: int = 100,
        f_min: float = 0.0,
        f_max: float | None = None,
    ) -> None:
        super().__init__()
        self.log_mel = LogMel(sampling_rate, n_fft, hop_length, n_mels, f_min, f_max)

    def forward(self, audio: Tensor, target: Tensor) -> Tensor:
        if audio.shape != target.shape:
            raise ValueError(f"the waveforms have shapes {tuple(audio.shape)} and {tuple(target.shape)}")
        with torch.no_grad():
            wanted = self.log_mel(target)
        return (self.log_mel(audio) - wanted).abs().mean()
