"""A recognizer of streams as ONNX: the next samples and states in, log-probabilities and states out."""

from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from imlspike.export.program import write_onnx
from imlspike.export.recognizer import GraphFeatures, spelled
from imlspike.inference.bundle import Bundle
from imlspike.inference.recognizer import Recognizer
from imlspike.inference.stream import FeatureStream
from imlspike.layers import Carried
from imlspike.layers.norm import plain_norms


class StreamStep(nn.Module):
    """The next tokens of a stream.

    Args:
        recognizer: folded; it is changed.
        look_ahead: tokens; None: the most that it was trained with.

    Attributes:
        shapes: of the layers' states, which lie one after another in one row of `numbers`.

    Forward:
        samples (1, S): those under the frames of one group of `look_ahead` + 1 tokens (at the end: with
        zeros); the next step begins `hop` x tokens later (`imlspike.inference.listening.Frames` tells how
        the ends are mirrored). gains (1, L): of its frames, `imlspike.data.level.RunningLevel`. past (1,)
        int64: tokens of the utterance so far; real (1,) int64: how many of the group there are, all but at
        the end; state (1, numbers): zeros at its begin. -> log-probabilities (1, n, V), of which only the
        real ones mean anything, and the next state.

    Raises:
        ValueError: naming what can't run on a stream.
    """

    def __init__(self, recognizer: Recognizer, look_ahead: int | None = None):
        super().__init__()
        FeatureStream(recognizer.features)  # refuses what needs the whole utterance
        encoder = recognizer.encoder
        self.look_ahead = encoder.check_stream(look_ahead)
        self.center = recognizer.features.stft["center"]
        recognizer.features.stft["center"] = False  # the client mirrors the begin
        recognizer.features = GraphFeatures(recognizer.features)
        plain_norms(encoder)
        self.recognizer = recognizer.eval()
        group, carried = self.look_ahead + 1, Carried()
        self.token = encoder.embed.frames_per_token()
        self.frames = self.token * (group - 1) + encoder.embed.least_frames()
        with torch.no_grad():
            frames = torch.zeros(1, self.frames, recognizer.features.n_mels)
            encoder.step(frames, carried, self.look_ahead, recognizer)
        self.layers = tuple(carried)
        self.shapes = [tuple(state.shape) for state in carried.values()]
        self.numbers = sum(map(prod, self.shapes))

    def forward(
        self, samples: Tensor, gains: Tensor, past: Tensor, real: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        features, carried = self.recognizer.features, Carried()
        parts = state[0].split([prod(shape) for shape in self.shapes])
        for layer, part, shape in zip(self.layers, parts, self.shapes, strict=True):
            carried[layer] = part.view(shape)
        carried.tokens, carried.real = past, real
        samples, gains = samples.to(features.window), gains.to(features.window)
        frames = features.log_mel(features.power_spectra(samples[0]), gains[0])
        encoded = self.recognizer.encoder.step(frames[None], carried, self.look_ahead, self.recognizer)
        state = torch.cat([carried[layer].flatten().to(state) for layer in self.layers])[None]
        return self.recognizer.log_probs(encoded), state


def export_stream(bundle: Bundle, folder: Path, look_ahead: int | None = None) -> Path:
    """Write `stream.onnx`, whose metadata say how many samples a step takes and goes on by; returns it."""
    step = StreamStep(Recognizer.from_bundle(bundle), look_ahead)
    features, tokens = step.recognizer.features, step.recognizer.tokens
    hop, size = features.stft["hop_length"], features.stft["n_fft"]
    samples = hop * (step.frames - 1) + size
    state = (1, step.numbers)
    inputs = {"samples": (1, samples), "gains": (1, step.frames), "past": (1,), "real": (1,), "state": state}
    outputs = {"log_probs": (1, step.look_ahead + 1, len(tokens)), "next_state": state}
    metadata = {"model_type": "imlspike_ctc_stream", "version": 2, "sample_rate": features.sampling_rate}
    metadata |= {"look_ahead": step.look_ahead, "samples": samples, "vocab_size": len(tokens)}
    metadata |= {
        "samples_on": hop * step.token * (step.look_ahead + 1),
        "level": "" if features.level is None else features.level,
    }
    metadata |= {"n_fft": size, "hop_length": hop, "frames_per_token": step.token, "center": int(step.center)}
    metadata |= {"tokens": " ".join(spelled(tokens)), "token_type": tokens.kind, "name": bundle.name}
    group = torch.tensor([step.look_ahead + 1])
    examples = [
        torch.randn(1, samples),
        torch.ones(1, step.frames),
        torch.tensor([8]),
        group,
        torch.zeros(state),
    ]
    write_onnx(step, examples, inputs, outputs, metadata, folder / "stream.onnx")
    return folder / "stream.onnx"
