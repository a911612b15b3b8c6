"""A recognizer as ONNX: a waveform in, CTC's log-probabilities out."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from imlspike.export.fourier import RealSTFT
from imlspike.export.integers import to_integers
from imlspike.export.program import table_metadata, write_onnx, write_table
from imlspike.inference.bundle import Bundle
from imlspike.inference.recognizer import Recognizer, SpeechFeatures, Tokens
from imlspike.models import IMLSpikeformerEncoder
from imlspike.text.tokens import BLANK_MARK, SPACE


class GraphFeatures(SpeechFeatures):
    """`SpeechFeatures` whose Fourier transform has real numbers alone.

    Args:
        features: whose settings and weights it has.
    """

    def __init__(self, features: SpeechFeatures):
        nn.Module.__init__(self)
        self.__dict__.update(copy.deepcopy(features).__dict__)
        settings = {key: self.stft[key] for key in ("n_fft", "hop_length", "center", "normalized")}
        self.real_stft = RealSTFT(self.window, **settings)

    def power_spectra(self, waveform: Tensor) -> Tensor:
        real, imaginary = self.real_stft(waveform)
        return (real.square() + imaginary.square()).T


class WaveformToLogProbs(nn.Module):
    """One waveform (1, S), full scale 1 -> log-probabilities (1, N, V), for export.

    Args:
        recognizer: folded, of an `IMLSpikeformerEncoder`; it is changed.
        int8: see `imlspike.export.integers`.

    Raises:
        ValueError: naming what can't be exported.
    """

    def __init__(self, recognizer: Recognizer, int8: bool = False):
        super().__init__()
        encoder = recognizer.encoder
        if not isinstance(encoder, IMLSpikeformerEncoder):
            raise ValueError(f"encoder {type(encoder).__name__}: only iml_spikeformer can be exported")
        if recognizer.ctc is None:
            raise ValueError("ctc_weight: 0: trained without CTC, there is nothing to export")
        if recognizer.features.causal_level:
            raise ValueError(
                "causal_level: a recognizer of streams; export a step of it by look_ahead (--look-ahead)"
            )
        if recognizer.features.peak is not None:
            raise ValueError("features: peak can't be exported; train with level, as `level: -20`")
        recognizer.features = GraphFeatures(recognizer.features)
        recognizer.encoder = to_integers(encoder) if int8 else encoder
        self.recognizer = recognizer.eval()

    def forward(self, waveform: Tensor) -> Tensor:
        features, encoder = self.recognizer.features(waveform[0]), self.recognizer.encoder
        told = {"ctc": self.recognizer} if encoder.interctc_use_conditioning else {}
        encoded = encoder(features[None], **told)[0]
        encoded = encoded[0] if isinstance(encoded, tuple) else encoded
        return self.recognizer.log_probs(encoded)


def export_recognizer(bundle: Bundle, folder: Path, int8: bool = False) -> list[Path]:
    """Write `model.onnx` (with int8 `model.int8.onnx`) and `tokens.txt`, as sherpa-onnx takes them.

    Returns the files.
    """
    recognizer = Recognizer.from_bundle(bundle)
    model = WaveformToLogProbs(recognizer, int8)
    features, tokens = recognizer.features, recognizer.tokens
    hop, encoder = features.stft["hop_length"], recognizer.encoder
    least = hop * (recognizer.least_frames - 1) + (0 if features.stft["center"] else features.stft["n_fft"])
    least = max(features.least_samples, least)
    metadata = {
        "model_type": "imlspike_ctc",
        "version": 1,
        "sample_rate": features.sampling_rate,
        **table_metadata(spelled(tokens)),
        "least_samples": least,
        "samples_per_token": hop * round(1000 / encoder.output_lengths(1000)),
        "token_type": tokens.kind,
        **{f"word_{name}": value for name, value in (bundle.config.get("word_times") or {}).items()},
        "name": bundle.name,
    }
    outputs = {"log_probs": (1, "tokens", len(tokens))}
    name = f"model{'.int8' if int8 else ''}.onnx"
    example = [0.1 * torch.randn(1, 2 * max(least, features.sampling_rate))]
    write_onnx(model, example, {"waveform": (1, "samples")}, outputs, metadata, folder / name)
    write_table(spelled(tokens), folder / "tokens.txt")
    return [folder / name, folder / "tokens.txt"]


def spelled(tokens: Tokens) -> list[str]:
    """Tokens so that joined, with blanks for their marks, they are the text, whatever kind they are of."""
    special = {tokens.names[tokens.blank], tokens.names[tokens.eos]}
    if tokens.kind == "word":
        return [name if name in special else BLANK_MARK + name for name in tokens.names]
    return [BLANK_MARK if name == SPACE else name for name in tokens.names]
