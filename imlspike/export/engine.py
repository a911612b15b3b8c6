"""Exported models in use: onnxruntime, numpy and soundfile, and no torch."""

import os
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

BLANK_MARK = "▁"


class Session:
    """An ONNX file that `imlspike export` wrote, open in onnxruntime. Any number of threads may call it.

    Args:
        path: the file, or a folder with one such file in it.
        kind: of model, as its metadata say: "imlspike_ctc", "imlspike_vocoder" or "imlspike_voice".
        threads: that it computes with; 0: as many as there are cores.

    Raises:
        ValueError: no such file, several, a damaged one, or one of another kind.
        ImportError: without onnxruntime.
    """

    def __init__(self, path: str | os.PathLike, kind: str, threads: int = 0):
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(f"{error}; pip install onnxruntime") from None
        self.path = _only_file(Path(path), kind)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        try:
            self.session = onnxruntime.InferenceSession(self.path, options, ["CPUExecutionProvider"])
        except Exception as error:  # of onnxruntime's own kinds, which have no common ancestor
            raise ValueError(f"{self.path}: not an ONNX file, or a damaged one ({error})") from None
        self.metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        if (own := self.metadata.get("model_type")) != kind:
            raise ValueError(f"{self.path}: model_type is {own!r}, expected {kind!r}; make it by imlspike export")
        self.names = [each.name for each in self.session.get_inputs()]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs for inputs in the order of the file."""
        return self.session.run(None, dict(zip(self.names, inputs, strict=True)))


def _only_file(path: Path, kind: str) -> str:
    if path.is_file():
        return os.fspath(path)
    found = sorted(each for each in path.glob("*.onnx") if ".spikes." not in each.name)
    if len(found) != 1:
        named = ", ".join(map(str, found)) or "no .onnx file"
        raise ValueError(f"{path}: {named} here; name one that `imlspike export` wrote")
    return os.fspath(found[0])


class OnnxDecoder:
    """Waveforms to texts by CTC's best path, as `imlspike.inference.decoding.Decoder`.

    Args:
        path, threads: of `Session`; `tokens.txt` lies beside the file.

    Attributes:
        sampling_rate: that waveforms must have, in Hz.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 0):
        self.session = Session(path, "imlspike_ctc", threads)
        metadata: dict[str, Any] = self.session.metadata
        self.sampling_rate, self.least = int(metadata["sample_rate"]), int(metadata["least_samples"])
        table = Path(self.session.path).with_name("tokens.txt")
        try:
            lines = table.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise ValueError(f"{table}: no such file; export the model again") from None
        self.symbols = [line.rpartition(" ")[0].replace(BLANK_MARK, " ") for line in lines]
        if len(self.symbols) != int(metadata["vocab_size"]):
            expected = metadata["vocab_size"]
            raise ValueError(f"{table}: {len(self.symbols)} tokens, expected {expected}; export the model again")

    def log_probs(self, waveform: np.ndarray) -> np.ndarray:
        """Log-probabilities (N, V) of a waveform (samples,), full scale 1."""
        return self.session(np.asarray(waveform, np.float32)[None])[0][0]

    def __call__(self, waveforms: list[np.ndarray]) -> list[str | None]:
        """Transcribe waveforms; None for one too short for the model."""
        return [self._text(one) if len(one) >= self.least else None for one in waveforms]

    def _text(self, waveform: np.ndarray) -> str:
        log_probs = self.log_probs(waveform)
        if not np.isfinite(log_probs).all():
            raise FloatingPointError("the model's output isn't finite")
        best = (self.symbols[number] for number, _ in groupby(log_probs.argmax(-1)))
        return " ".join("".join(each for each in best if each not in ("<blank>", "<sos/eos>")).split())
