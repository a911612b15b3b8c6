"""Exported programs of any length: audio features to text, text to mel, mel to audio."""

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from imlspike.inference.recognizer import SpeechFeatures
from tests.models.small import FEATURES, VARIANTS, small_encoder
from tests.models.small_spikevoice import SYMBOLS, small_voice
from tests.models.small_spikevoice import VARIANTS as VOICES
from tests.models.small_vocos import small_mel, small_vocos


def check(model, example, axis, inputs, **tolerance):
    """One program, of an example of one length, serves all."""
    program = export(model.eval(), (example,), dynamic_shapes=({axis: Dim.DYNAMIC},)).module()
    with torch.no_grad():
        for each in inputs:
            torch.testing.assert_close(
                program(each), model(each), **{"rtol": 1e-4, "atol": 1e-5, **tolerance}
            )


class Recognizer(nn.Module):
    """Features (1, L, F) -> log-probabilities of a linear CTC head."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(8, 5)

    def forward(self, xs):
        return self.head(self.encoder(xs)[0]).log_softmax(-1)


@pytest.mark.parametrize(
    ("variant", "folded"), [("default", True), ("binary", False), ("causal conv over time", True)]
)
def test_a_recognizer(variant, folded):
    encoder = small_encoder(dtype=torch.float32, **{**VARIANTS[variant], "num_blocks": 1})
    model = Recognizer(encoder.reparameterize() if folded else encoder)
    inputs = [torch.randn(1, frames, FEATURES) for frames in (15, 61, 300, 2500)]
    check(model, torch.randn(1, 60, FEATURES), 1, inputs)


class Speaker(nn.Module):
    """Symbols (1, N) -> log-mel (1, L, M)."""

    def __init__(self, voice):
        super().__init__()
        self.voice = voice

    def forward(self, text):
        return self.voice(text).mel_post


@pytest.mark.parametrize("variant", ["lif", "imls sequential"])
def test_a_voice(variant):
    """How many frames it speaks is data."""
    model = Speaker(small_voice(dtype=torch.float32, **VOICES[variant]))
    inputs = [torch.randint(SYMBOLS, (1, symbols)) for symbols in (2, 13, 40)]
    check(model, torch.randint(SYMBOLS, (1, 12)), 1, inputs)


@pytest.mark.parametrize("variant", ["learned shift", "ann"])
def test_a_vocoder(variant):
    model = small_vocos(variant, dtype=torch.float32)
    inputs = [small_mel(frames, 1, torch.float32) for frames in (2, 21, 300)]
    check(model, small_mel(20, 1, torch.float32), 2, inputs, atol=1e-4)


def test_waveforms_of_any_length_and_level_to_features():
    """The level of speech is found inside the program."""
    features = SpeechFeatures(16000, 512, 400, 160, n_mels=20, normalize="none", level=-20.0, floor=-60.0)
    features.bands.copy_(torch.rand(257, 20))
    waves = [gain * torch.randn(samples) for gain, samples in ((1e-3, 9000), (0.1, 16000), (2.0, 40000))]
    check(features, 0.1 * torch.randn(16000), 0, waves)
