"""Decay attention token by token is decay attention over the whole sequence."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.layers import decay_attention, row_sums
from imlspike.layers.decay_step import RecurrentDecayAttention

GAMMAS = st.lists(st.sampled_from([0.05, 0.5, 0.9, 1 - 2**-7, 1 - 2**-24, 1.0]), min_size=1, max_size=3)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**31),
    gammas=GAMMAS,
    tokens=st.integers(1, 12),
    mode=st.sampled_from(["quadratic", "chunked"]),
)
def test_token_by_token_is_at_once(seed, gammas, tokens, mode):
    torch.manual_seed(seed)
    gamma = torch.tensor(gammas, dtype=torch.float64)
    attention = RecurrentDecayAttention(gamma, mode)
    q, k, v = torch.randn(3, 2, len(gammas), tokens, 4).double()
    sums, outputs = q.new_zeros(2, len(gammas), 4, 4), []
    for i in range(tokens):
        with attention.carrying(sums, i):
            outputs.append(attention(*(t[:, :, i : i + 1] for t in (q, k, v))))
    together = torch.cat(outputs, 2)
    torch.testing.assert_close(
        together, decay_attention(q, k, v, gamma, direction="past"), rtol=1e-7, atol=1e-9
    )
    torch.testing.assert_close(attention(q, k, v), together, rtol=1e-7, atol=1e-9)


def test_the_divisor_is_the_sum_of_the_row_far_out():
    """After many tokens as well, where a power of gamma has vanished or hasn't."""
    gamma = torch.tensor([0.5, 1 - 2**-7, 1.0])
    attention = RecurrentDecayAttention(gamma).double()
    want = row_sums(gamma.double(), torch.tensor([5000]), 5000, "past")[0]
    ones = torch.ones(1, 3, 1, 1, dtype=torch.float64)
    for past in (0, 1, 100, 4999):
        with attention.carrying(torch.zeros_like(ones), past):
            got = attention(ones, ones, ones)
        torch.testing.assert_close(1 / got.flatten(), want[:, past], rtol=1e-9, atol=0)


def test_carrying_ends():
    """Also by an error: the next call is one over whole sequences again."""
    attention = RecurrentDecayAttention(torch.tensor([0.5]))
    q = torch.ones(1, 1, 3, 2)
    want = attention(q, q, q)
    with pytest.raises(RuntimeError), attention.carrying(torch.zeros(1, 1, 5, 5), 0):
        attention(q[:, :, :1], q[:, :, :1], q[:, :, :1])
    assert torch.equal(attention(q, q, q), want)


def test_dropout_works_in_training_only():
    attention = RecurrentDecayAttention(torch.tensor([0.5]), dropout=0.5)
    q = torch.ones(1, 1, 50, 4)
    assert not attention.eval()(q, q, q).eq(0).any()
    assert 0.2 < attention.train()(q, q, q).eq(0).float().mean() < 0.8
