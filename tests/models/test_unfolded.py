"""The whole encoder, run on unfolded binary spikes by a program of its own, reproduces the model's output."""

import pytest
import torch

from tests.models.small import VARIANTS, batch, small_encoder
from tests.models.unfolded import DEFAULTS, BinaryEncoder


@pytest.mark.parametrize("variant", VARIANTS)
def test_binary_spikes_reproduce_the_encoder(variant):
    options = VARIANTS[variant]
    encoder = small_encoder(**options)
    for name, parameter in encoder.named_parameters():
        if name.endswith("norm.weight"):
            parameter.data[::2].neg_()
    encoder.reparameterize()
    x, lengths = batch([61, 23, 40])
    with torch.no_grad():
        want, tokens, _ = encoder(x, lengths)
        chip = BinaryEncoder(encoder.state_dict(), **{k: v for k, v in options.items() if k in DEFAULTS})
        for b, (frames, n) in enumerate(zip(lengths.tolist(), tokens.tolist(), strict=True)):
            got = chip(x[b, :frames])
            torch.testing.assert_close(got, want[b, :n], rtol=1e-8, atol=1e-8)
    weights = {name for name, t in encoder.state_dict().items() if t.dim() >= 2}
    assert chip.driven == weights - {"embed.stages.0.conv.weight"}
    assert chip.spikes_fired > 1000


def test_a_lost_step_would_be_seen():
    encoder = small_encoder().reparameterize()
    x, lengths = batch([61], padding=0)
    with torch.no_grad():
        want = encoder(x, lengths)[0][0]
        chip = BinaryEncoder(encoder.state_dict(), levels=5)
        assert (chip(x[0]) - want).abs().max() > 1e-2
