"""A vocoder small enough for tests, and lively: random weights with which every neuron and frame counts."""

from pathlib import Path

import torch

from imlspike.inference.vocoder import vocoder_bundle
from imlspike.models import SpikingVocos

SIZES = {"sampling_rate": 8000, "n_fft": 64, "hop_length": 16, "n_mels": 8}


def small_model(neuron: str = "plif", dtype: torch.dtype = torch.float32, **config) -> SpikingVocos:
    """A model of two blocks that sees 11 frames on each side (3 each of embedding and blocks, 2 of the head).

    In fp64 rounding never moves a spike, so what is equal by construction is equal in tests.
    """
    torch.manual_seed(1)
    config = {"dim": 12, "intermediate_dim": 24, "num_layers": 2, "layer_scale": 1.0, "steps": 3} | config
    model = SpikingVocos(**SIZES, **config, neuron=neuron).to(dtype)
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.7)
        for block in model.backbone.blocks:
            block.norm.weight.fill_(4.0)
            block.pwconv1.weight.mul_(4)
        model.head.out.weight.normal_(std=0.2)
    return model.eval()


def save(model: SpikingVocos, folder: Path) -> None:
    """Write the model's bundle into a folder, as its training ends."""
    vocoder_bundle(model, folder.name).save(folder)
