"""Small recognizers as bundles, exported once for all tests."""

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from imlspike.inference import Bundle  # noqa: E402
from imlspike.inference.recognizer import Recognizer, SpeechFeatures, Tokens  # noqa: E402
from tests.models.small import small_encoder  # noqa: E402

TOKENS = ("<blank>", "<unk>", "<space>", *"abcdef", "<sos/eos>")
FEATURES = dict(
    sampling_rate=16000, n_fft=256, win_length=200, hop_length=80, n_mels=20, level=-20, floor=-60
)
SIZES = dict(output_size=8, attention_heads=2, linear_units=12, num_blocks=1)


def recognizer_bundle(**options) -> Bundle:
    """A lively untrained recognizer of eight channels."""
    options = SIZES | options
    encoder = small_encoder(dtype=torch.float32, **options)
    features = SpeechFeatures(**FEATURES)
    features.bands.copy_(torch.rand(129, 20) * (torch.rand(129, 20) < 0.1))
    ctc = nn.Linear(8, len(TOKENS))
    nn.init.normal_(ctc.weight, std=3)
    states = Recognizer(features, encoder, ctc, Tokens(TOKENS, "char")).state_dict()
    model = {"encoder": "iml_spikeformer", "encoder_conf": options}
    config = {"features": {**FEATURES, "normalize": "global"}, "model": model, "token_type": "char"}
    return Bundle("recognizer", "small", config, states, TOKENS)


def noises(*seconds: float) -> list[np.ndarray]:
    """Noise whose level goes up and down, at 16 kHz."""
    rng = np.random.default_rng(0)
    lengths = [int(16000 * each) for each in seconds]
    return [
        (0.1 * rng.standard_normal(n) * (1.1 + np.sin(np.arange(n) / 700))).astype(np.float32)
        for n in lengths
    ]
