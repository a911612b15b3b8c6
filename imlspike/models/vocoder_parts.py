"""The parts of a vocoder: backbone and head (the scheme of Vocos).

B batch, S samples, L frames, C channels, F = n_fft / 2 + 1 frequencies.
"""

import math

import torch
from torch import Tensor, nn

from imlspike.layers.full_precision import FullPrecisionBuffers
from imlspike.layers.spiking_convnext import SpikingConvNeXtBlock

LARGEST_LOG_MAGNITUDE = math.log(100)
KERNEL = 7  # frames under every convolution


class SpikingVocosBackbone(nn.Module):
    """The ConvNeXt blocks of Vocos, with spiking neurons before their pointwise convolutions.

    Convolution over 7 frames and LayerNorm (the embedding), T copies of that, the blocks, a weighted sum over
    T, LayerNorm. The paper does not say how T is read out; the sum is that of its code.

    Args:
        n_mels: channels of the features.
        dim: C.
        blocks: `SpikingConvNeXtBlock` s.
        readout_decay: step t of T weighs readout_decay ** (T - 1 - t); None: the mean over T.

    Forward: features (B, n_mels, L) -> (B, L, C), and with `keep_hidden` see `VocoderOutput.hidden`.

    >>> backbone = SpikingVocosBackbone(10, 8, [SpikingConvNeXtBlock(8, 24) for _ in range(2)])
    >>> x, hidden = backbone(torch.randn(1, 10, 5), keep_hidden=True)
    >>> x.shape, [h.shape for h in hidden]
    (torch.Size([1, 5, 8]), [torch.Size([1, 1, 5, 8]), torch.Size([1, 1, 5, 8])])
    """

    def __init__(
        self,
        n_mels: int,
        dim: int,
        blocks: list[SpikingConvNeXtBlock],
        readout_decay: float | None = 0.9,
    ):
        super().__init__()
        self.readout_decay = readout_decay
        self.embed = nn.Conv1d(n_mels, dim, KERNEL, padding=KERNEL // 2)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = nn.LayerNorm(dim, eps=1e-6)
        for module in self.modules():  # as in Vocos
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, features: Tensor, keep_hidden: bool = False) -> tuple[Tensor, tuple[Tensor, ...]]:
        embedded = self.embed(features.to(self.embed.weight.dtype)).transpose(1, 2)
        x = self.norm(embedded.to(self.norm.weight.dtype))[None]  # of autocast fp32 again
        hidden = []
        for n, block in enumerate(self.blocks):
            x, read = block(x)
            if keep_hidden and n:
                hidden.append(read)
        if keep_hidden:
            hidden.append(x)
        return self.final_norm(self._readout(x)), tuple(hidden)

    def _readout(self, x: Tensor) -> Tensor:
        """(T, B, L, C) -> (B, L, C)"""
        if self.readout_decay is None:
            return x.mean(0)
        first, *rest = x.unbind(0)
        for step in rest:
            first = torch.add(step, first, alpha=self.readout_decay)
        return first


class ISTFTHead(FullPrecisionBuffers):
    """A linear map to log magnitudes and phases, and the inverse short-time Fourier transform of these.

    Magnitudes are capped at 100, as in Vocos. The head runs in fp32 under autocast, and all behind the map in
    fp32 at least: a phase in bf16 would be off by hundredths of a radian.

    Args:
        dim: C.
        n_fft, hop_length: samples; Hann window, centred frames.

    Forward:
        x: (B, L, C), L at least 2.

    Returns:
        audio (B, (L - 1) hop_length); log of the capped magnitude (B, F, L); phase (B, F, L) in radians, not
        wrapped.

    >>> audio, log_magnitude, phase = ISTFTHead(8, 512, 128)(torch.randn(1, 11, 8))
    >>> audio.shape, phase.shape
    (torch.Size([1, 1280]), torch.Size([1, 257, 11]))
    """

    def __init__(self, dim: int, n_fft: int, hop_length: int):
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.out = nn.Linear(dim, n_fft + 2)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    @property
    def overlap(self) -> int:
        """Frames on each side of a frame i whose windows reach its samples, i hop to (i + 1) hop - 1."""
        return (self.n_fft // 2 + self.hop_length - 2) // self.hop_length

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            log_magnitude, phase = self.polar(x)
            audio = self._audio(torch.polar(log_magnitude.exp(), phase.contiguous()))
        return audio, log_magnitude.transpose(1, 2), phase.transpose(1, 2)

    def polar(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, C) -> log of the capped magnitude, and phase, (B, L, F) each."""
        out = self.out(x.to(self.out.weight.dtype))
        log_magnitude, phase = out.to(torch.promote_types(out.dtype, torch.float32)).chunk(2, -1)
        # Capped before the exponential: its gradient is then finite whatever the map gives.
        return log_magnitude.clamp(max=LARGEST_LOG_MAGNITUDE), phase

    def _audio(self, spectrum: Tensor) -> Tensor:
        """`torch.istft` of (B, L, F), without its look at the data, which no exporter gets past."""
        frames = torch.fft.irfft(spectrum, self.n_fft) * self.window
        squares = self.window.square().expand_as(frames[:1])
        margin = self.n_fft // 2
        audio, weight = (self._overlap_add(each)[:, margin:-margin] for each in (frames, squares))
        return audio / weight

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """(B, L, n_fft) -> (B, n_fft + (L - 1) hop_length)"""
        samples = self.n_fft + (frames.shape[1] - 1) * self.hop_length
        return torch.ops.aten.unfold_backward(frames, (len(frames), samples), 1, self.n_fft, self.hop_length)
