"""The two peers: the spiking encoder and ESPnet's Transformer encoder of the same size."""

import torch
from torch import nn

from imlspike.models import IMLSpikeformerEncoder

FEATURES = 80
FRAMES_PER_SECOND = 100

# Arguments that both encoders take, and those of the spiking one alone. "full" is what conf/full.yaml trains,
# with a convolution over time and fewer channels in the subsampling; the others have the parts and widths of
# the Transformer.
_SMALL = dict(output_size=144, attention_heads=4, linear_units=576, num_blocks=6, input_layer="conv2d")
SIZES = {
    "full": (_SMALL, dict(input_channels=64, direction="split", conv_kernel=15, threshold="token")),
    "small": (_SMALL, dict(threshold="token")),
    "aishell": (
        dict(output_size=256, attention_heads=4, linear_units=2048, num_blocks=12, input_layer="conv2d"),
        dict(threshold="token"),
    ),
}


def speech(batch: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised features (B, L, 80) and their lengths: noise, as no time here depends on the values."""
    return torch.randn(batch, frames, FEATURES), torch.full((batch,), frames)


def spiking(size: str, inference: bool = True, **options) -> nn.Module:
    """The spiking encoder of a size of `SIZES`; for inference reparameterised, having seen a batch. `options`
    come before those of the size."""
    shared, own = SIZES[size]
    encoder = IMLSpikeformerEncoder(FEATURES, **shared, **(own | options))
    if inference:
        with torch.no_grad():
            encoder(*speech(4, 400))
        encoder.reparameterize()
    return encoder


def transformer(size: str, inference: bool = True) -> nn.Module:
    """ESPnet's Transformer encoder of a size of `SIZES`; for inference in evaluation mode."""
    from espnet2.asr.encoder.transformer_encoder import TransformerEncoder

    return TransformerEncoder(FEATURES, **SIZES[size][0]).train(not inference)


PEERS = {"spiking": spiking, "transformer": transformer}


def train_step(encoder: nn.Module, batch: int = 8, frames: int = 1000):
    """A function that trains `encoder` by one step on a batch of about 80 s: forward, backward, AdamW."""
    encoder.train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-4)
    xs, lengths = speech(batch, frames)

    def step():
        optimizer.zero_grad()
        encoder(xs, lengths)[0].square().mean().backward()
        optimizer.step()

    return step
