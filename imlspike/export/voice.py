"""A voice as ONNX: numbers of symbols in, a log-mel and the frames of each symbol out."""

from pathlib import Path

import torch
from torch import Tensor, nn

from imlspike.data.files import atomic_write
from imlspike.export.program import write_onnx
from imlspike.inference.bundle import Bundle
from imlspike.inference.voice import TrainedVoice
from imlspike.layers.norm import plain_norms


class SymbolsToMel(nn.Module):
    """Symbols (1, N) int64, and the speaker (1,) where there are several -> log-mel (1, M, L), frames (1, N).

    The mel is the vocoder's: the voice's mean and deviation are in it.
    """

    def __init__(self, voice: TrainedVoice):
        super().__init__()
        self.model = plain_norms(voice.model.reparameterize())
        self.register_buffer("mean", torch.as_tensor(voice.mean))
        self.register_buffer("deviation", torch.as_tensor(voice.deviation))

    def forward(self, symbols: Tensor, speaker: Tensor | None = None) -> tuple[Tensor, Tensor]:
        spoken = self.model(symbols, speaker=speaker)
        mel = spoken.mel_post * self.deviation + self.mean
        return mel.transpose(1, 2), spoken.durations


def export_voice(bundle: Bundle, folder: Path) -> list[Path]:
    """Write `model.onnx` and `tokens.txt`; returns them."""
    voice = TrainedVoice.from_bundle(bundle)
    speakers, sizes = voice.model.config["speakers"], voice.features
    metadata = {
        "model_type": "imlspike_voice",
        "version": 1,
        "sample_rate": sizes["sampling_rate"],
        "hop_length": sizes["hop_length"],
        "n_mels": sizes["n_mels"],
        "front_end": voice.front_end or "",
        "speakers": ",".join(voice.speakers) or speakers or "",
        "name": bundle.name,
    }
    examples, inputs = [torch.arange(12)[None] % len(voice.symbols)], {"symbols": (1, "symbols")}
    if speakers:
        examples.append(torch.tensor([1]))
        inputs["speaker"] = (1,)
    outputs = {"mel": (1, sizes["n_mels"], "frames"), "durations": (1, "symbols")}
    path, table = folder / "model.onnx", folder / "tokens.txt"
    write_onnx(SymbolsToMel(voice), examples, inputs, outputs, metadata, path)
    with atomic_write(table) as out:
        out.writelines(f"{symbol} {number}\n" for number, symbol in enumerate(voice.symbols))
    return [path, table]
