"""Fourier transforms of frames in real numbers, which every ONNX runtime has: products with waves."""

import math

import torch
from torch import Tensor, nn


def _waves(n_fft: int, first: int, samples: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (n_fft / 2 + 1, samples) of the samples from `first` on, fp64."""
    turns = torch.arange(samples, dtype=torch.float64) + first
    angles = torch.arange(n_fft // 2 + 1)[:, None] * turns * (2 * math.pi / n_fft)
    return angles.cos(), angles.sin()


class RealSTFT(nn.Module):
    """Fourier transforms of a waveform's frames as `torch.stft` has them, without complex numbers.

    Args:
        window: (W,), in the middle of n_fft samples.
        n_fft, hop_length, center, normalized: of `torch.stft`.

    Forward: (S,) -> real and imaginary parts, (n_fft / 2 + 1, L) each, up to their signs, with times from the
    middle of each frame; magnitudes are those of torch.

    >>> real, imaginary = RealSTFT(torch.hann_window(400), 512, 160)(torch.randn(1600))
    >>> real.shape
    torch.Size([257, 11])
    """

    def __init__(
        self, window: Tensor, n_fft: int, hop_length: int, center: bool = True, normalized: bool = False
    ):
        super().__init__()
        dtype = window.dtype
        self.n_fft, self.hop_length, self.center = n_fft, hop_length, center
        self.before = (n_fft - len(window)) // 2  # samples of a frame that the window leaves out
        self.hops, self.half = len(window) // hop_length + 1, len(window) // 2
        window = window.double() / (math.sqrt(n_fft) if normalized else 1)
        self.register_buffer(
            "window", nn.functional.pad(window, (0, 2 * self.half + 1 - len(window))).to(dtype)
        )
        cosines, sines = (each.T.to(dtype) for each in _waves(n_fft, 0, self.half + 1))
        cosines[0] /= 2  # of the sample in the middle, which is added to itself
        self.register_buffer("cosines", cosines.contiguous())
        self.register_buffer("sines", sines.contiguous())

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        if self.center:
            around = (self.n_fft // 2, self.n_fft // 2)
            waveform = nn.functional.pad(waveform[None, None], around, mode="reflect")[0, 0]
        hop, frames = self.hop_length, 1 + (waveform.shape[0] - self.n_fft) // self.hop_length
        # A frame is some hops side by side; one product then takes half the time of a convolution.
        waveform = nn.functional.pad(waveform[self.before :], (0, self.hops * hop))
        hops = waveform[: (frames + self.hops - 1) * hop].reshape(frames + self.hops - 1, hop)
        windows = torch.cat([hops[first : first + frames] for first in range(self.hops)], 1)
        # Around its middle a frame has an even part, of which only cosines see anything, and an odd one.
        windows = windows[:, : 2 * self.half + 1] * self.window
        after, before = windows[:, self.half :], windows[:, : self.half + 1].flip(1)
        return ((after + before) @ self.cosines).T, ((after - before) @ self.sines).T


class RealISTFT(nn.Module):
    """The audio of `ISTFTHead` from log magnitudes and phases (B, F, L) -> (B, (L - 1) hop_length).

    Inverse transform, window and overlap-add are one transposed convolution.
    """

    def __init__(self, window: Tensor, hop_length: int):
        super().__init__()
        n_fft, self.hop_length = len(window), hop_length
        cosines, sines = _waves(n_fft, 0, n_fft)
        twice = torch.full((n_fft // 2 + 1, 1), 2.0, dtype=torch.float64)
        twice[0] = twice[-1] = 1  # the others stand for their conjugates, too
        waves = torch.cat([cosines * twice, -sines * twice]) / n_fft * window.double()
        self.register_buffer("waves", waves.float()[:, None])
        self.register_buffer("squares", window.square()[None, None])

    def forward(self, log_magnitude: Tensor, phase: Tensor) -> Tensor:
        magnitude = log_magnitude.exp()
        parts = torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], 1)
        ones = torch.ones_like(parts[:1, :1])
        audio, weight = (
            nn.functional.conv_transpose1d(x, filters, stride=self.hop_length)
            for x, filters in ((parts, self.waves), (ones, self.squares))
        )
        margin = self.squares.shape[-1] // 2
        return (audio / weight.clamp(min=1e-11))[:, 0, margin:-margin]
