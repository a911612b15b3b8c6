"""A vocoder as ONNX: a mel in, a waveform out; and a waveform's mel."""

from pathlib import Path

import torch
from torch import Tensor, nn

from imlspike.export.fourier import RealISTFT, RealSTFT
from imlspike.export.program import mel_metadata, write_onnx
from imlspike.inference.bundle import Bundle
from imlspike.inference.vocoder import spiking_vocos
from imlspike.layers.log_mel import LEAST_MEL
from imlspike.models import SpikingVocos


class MelToWaveform(nn.Module):
    """Log-mel (1, M, L) -> audio (1, (L - 1) hop_length)."""

    def __init__(self, model: SpikingVocos):
        super().__init__()
        self.backbone, self.head = model.backbone, model.head
        self.inverse = RealISTFT(model.head.window, model.hop_length)

    def forward(self, mel: Tensor) -> Tensor:
        log_magnitude, phase = self.head.polar(self.backbone(mel)[0])
        return self.inverse(log_magnitude.transpose(1, 2), phase.transpose(1, 2))


class WaveformToMel(nn.Module):
    """Audio (1, S) -> log-mel (1, M, S // hop_length + 1), as `LogMel`."""

    def __init__(self, model: SpikingVocos):
        super().__init__()
        features = model.feature_extractor
        self.stft = RealSTFT(features.window, features.n_fft, features.hop_length)
        self.register_buffer("bands", features.bands)

    def forward(self, waveform: Tensor) -> Tensor:
        real, imaginary = self.stft(waveform[0])
        magnitude = (real.square() + imaginary.square()).sqrt()
        return (self.bands @ magnitude).clamp(min=LEAST_MEL).log()[None]


def export_vocoder(bundle: Bundle, folder: Path) -> list[Path]:
    """Write `model.onnx` (mel to waveform) and `mel.onnx` (waveform to mel); returns them."""
    model, level = spiking_vocos(bundle), bundle.config.get("level")
    metadata = {
        "model_type": "imlspike_vocoder",
        "version": 1,
        **mel_metadata(model.config),
        "context": model.context,
        "level": "" if level is None else level,
        "name": bundle.name,
    }
    shapes = {"mel": (1, model.n_mels, "frames")}, {"audio": (1, "samples")}
    path, mel = folder / "model.onnx", folder / "mel.onnx"
    write_onnx(MelToWaveform(model), [torch.randn(1, model.n_mels, 50)], *shapes, metadata, path)
    metadata["model_type"] = "imlspike_mel"
    example = [0.1 * torch.randn(1, model.config["n_fft"] * 9)]
    write_onnx(
        WaveformToMel(model), example, *(dict([*each.items()]) for each in shapes[::-1]), metadata, mel
    )
    return [path, mel]
