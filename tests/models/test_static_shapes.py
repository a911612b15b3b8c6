"""Without padding a training step asks for no number out of a tensor: on a GPU that would wait for it."""

import pytest
import torch

from tests.layers.test_layout import ReadsData
from tests.models.small import FEATURES, small_encoder
from tests.models.small_decoder import CHANNELS, VOCABULARY, small_decoder
from tests.models.small_vocos import small_mel, small_vocos

STEPS = {
    "encoder": (
        lambda: small_encoder(dtype=torch.float32, conv_kernel=3, direction="split"),
        lambda model: model(torch.randn(2, 60, FEATURES))[0],
    ),
    "encoder, chunked": (
        lambda: small_encoder(dtype=torch.float32, attention_mode="chunked", threshold="layer"),
        lambda model: model(torch.randn(2, 300, FEATURES))[0],
    ),
    "decoder": (
        lambda: small_decoder(dtype=torch.float32),
        lambda model: model(torch.randn(2, 9, CHANNELS), None, torch.randint(VOCABULARY, (2, 5)), None)[0],
    ),
    "vocoder": (
        lambda: small_vocos("learned shift", dtype=torch.float32),
        lambda model: model(small_mel(dtype=torch.float32)),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_nothing_depends_on_data(name):
    make, run = STEPS[name]
    model = make().train()
    with ReadsData():
        run(model).square().sum().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_without_lengths_it_is_full_lengths():
    model, xs = small_encoder(), torch.randn(2, 60, FEATURES, dtype=torch.float64)
    assert torch.equal(model(xs)[0], model(xs, torch.tensor([60, 60]))[0]) and model(xs)[1] is None
