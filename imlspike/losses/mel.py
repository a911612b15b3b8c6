"""The distance of two waveforms' log-mel spectrograms."""

import torch
import torchaudio
from torch import Tensor, nn

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
        self.n_fft, self.hop_length = n_fft, hop_length
        f_max = sampling_rate / 2 if f_max is None else f_max
        bands = torchaudio.functional.melscale_fbanks(n_fft // 2 + 1, f_min, f_max, n_mels, sampling_rate)
        # Both follow from the arguments, so checkpoints do without them.
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("bands", bands.T.contiguous(), persistent=False)

    def forward(self, audio: Tensor, target: Tensor) -> Tensor:
        """See the class."""
        if audio.shape != target.shape:
            raise ValueError(f"the waveforms have shapes {tuple(audio.shape)} and {tuple(target.shape)}")
        with torch.no_grad():
            wanted = self._log_mel(target)
        return (self._log_mel(audio) - wanted).abs().mean()

    def _log_mel(self, audio: Tensor) -> Tensor:
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = torch.stft(
                audio.to(self.window.dtype),
                self.n_fft,
                self.hop_length,
                window=self.window,
                return_complex=True,
            )
            return (self.bands @ spectrum.abs()).clamp(min=FLOOR).log()
