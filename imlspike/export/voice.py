"""A voice as ONNX: numbers of symbols in, a log-mel and the frames of each symbol out."""

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from imlspike.export.program import mel_metadata, table_metadata, write_onnx, write_table
from imlspike.inference.bundle import Bundle
from imlspike.inference.voice import TrainedVoice
from imlspike.layers.norm import plain_norms


class SymbolsToMel(nn.Module):
    """Symbols and controls to a log-mel, as the vocoder takes it: the voice's mean and deviation are in it.

    Forward:
        symbols (1, N) int64; controls (3,): speed, pitch and energy, as
        `imlspike.data.controls.Controls`; speaker (1,) int64, where there are several. -> log-mel (1, M, L),
        frames (1, N).
    """

    def __init__(self, voice: TrainedVoice):
        super().__init__()
        self.model = plain_norms(voice.model.reparameterize())
        self.register_buffer("mean", torch.as_tensor(voice.mean))
        self.register_buffer("deviation", torch.as_tensor(voice.deviation))

    def forward(
        self, symbols: Tensor, controls: Tensor, speaker: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        speed, pitch, energy = controls.unbind()
        factors = SimpleNamespace(speed=speed, pitch=pitch, energy=energy)  # what runs the file checks them
        spoken = self.model(symbols, speaker=speaker, controls=factors)
        mel = spoken.mel_post * self.deviation + self.mean
        return mel.transpose(1, 2), spoken.durations


def export_voice(bundle: Bundle, folder: Path) -> list[Path]:
    """Write `model.onnx` and `tokens.txt`; returns them."""
    voice = TrainedVoice.from_bundle(bundle)
    speakers, sizes = voice.speaker_count, voice.features
    metadata = {
        "model_type": "imlspike_voice",
        "version": 2,
        **mel_metadata(sizes),
        **table_metadata(voice.symbols),
        "front_end": voice.front_end or "",
        "speakers": json.dumps(list(voice.speakers), ensure_ascii=False),
        "speaker_count": speakers or 0,
        "languages": json.dumps(dict(voice.languages), ensure_ascii=False),
        "name": bundle.name,
    }
    examples = [torch.arange(12)[None] % len(voice.symbols), torch.ones(3)]
    inputs = {"symbols": (1, "symbols"), "controls": (3,)}
    if speakers:
        examples.append(torch.tensor([min(1, speakers - 1)]))
        inputs["speaker"] = (1,)
    outputs = {"mel": (1, sizes["n_mels"], "frames"), "durations": (1, "symbols")}
    path, table = folder / "model.onnx", folder / "tokens.txt"
    write_onnx(SymbolsToMel(voice), examples, inputs, outputs, metadata, path)
    write_table(voice.symbols, table)
    return [path, table]
