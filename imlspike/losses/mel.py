"""The distance of two waveforms' log-mel spectrograms."""

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

FLOOR = 1e-7


class MelLoss(nn.Module):
    """Mean absolute difference of two waveforms' log-mel spectrograms (the reconstruction loss of Vocos).

    Magnitudes (not powers) of a centred STFT with a Hann window, on the HTK mel scale; the natural logarithm
    of what is at least 1e-7.

    Args:
        sampling_rate: Hz.
        n_fft: samples, the window too.
        hop_length: samples.
        n_mels: bands.
        f_min, f_max: Hz; up to half the sampling rate without `f_max`.

    Forward:
        audio: (B, S) in [-1, 1], the generator's; floating point.
        target: (B, S), likewise. No gradient goes back to it.

    Returns:
        a scalar.

    Raises:
        ValueError: waveforms of different shapes.

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
        self.mel = MelSpectrogram(
            sample_rate=sampling_rate,
            n_fft=n_fft,
            hop_length=hop_length,
            n_mels=n_mels,
            f_min=f_min,
            f_max=f_max,
            center=True,
            power=1,
        )

    def forward(self, audio: Tensor, target: Tensor) -> Tensor:
        """See the class."""
        if audio.shape != target.shape:
            raise ValueError(f"the waveforms have shapes {tuple(audio.shape)} and {tuple(target.shape)}")
        with torch.no_grad():
            wanted = self._log_mel(target)
        return (self._log_mel(audio) - wanted).abs().mean()

    def _log_mel(self, audio: Tensor) -> Tensor:
        return self.mel(audio).clamp(min=FLOOR).log()
