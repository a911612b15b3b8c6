"""Loudness against torchaudio's."""

import numpy as np
import pytest
import torch
from torchaudio.functional import loudness

from imlspike.inference.loudness import BLOCK, loudness_of


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_loudness_is_torchaudios(rate):
    """Of what has pauses, quiet and long enough parts, at any scale; what is short is repeated."""
    rng = np.random.default_rng(0)
    for count in (3, rate // 3, rate, 5 * rate + 1):
        loud = np.exp(rng.uniform(-9, 0, count // 3000 + 1)).repeat(3000)[:count]
        wave = rng.standard_normal(count) * loud
        wave *= 0.25 / np.abs(wave).max()
        whole = np.tile(wave, -(-round(BLOCK * rate) // count))
        wanted = float(loudness(torch.from_numpy(whole)[None], rate))
        assert loudness_of(wave, rate) == pytest.approx(wanted, abs=1e-9)
        assert loudness_of(1e-5 * wave, rate) == pytest.approx(wanted - 100, abs=1e-9)
    assert loudness_of(np.zeros(rate), rate) == loudness_of(np.zeros(0), rate) == -np.inf
