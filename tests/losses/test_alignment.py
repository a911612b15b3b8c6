"""Alignment losses against sums over every path there is, and padded batches against single utterances."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.losses.alignment import (
    average_by_duration,
    beta_binomial_prior,
    binarisation_loss,
    forward_sum_loss,
    monotonic_alignment,
    token_of_frame,
)

SIZES = [(1, 1), (1, 4), (2, 2), (2, 5), (3, 3), (3, 6), (4, 7)]


def shares(tokens, frames, batch=1, seed=0):
    """Log shares (B, L, N), float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, frames, tokens, generator=generator, dtype=torch.float64)
    return logits.log_softmax(-1)


def paths(tokens, frames):
    """Every monotonic complete alignment, as the durations of its tokens."""
    for cuts in itertools.combinations(range(1, frames), tokens - 1):
        yield np.diff([0, *cuts, frames])


def score(log_attention, durations):
    """Log probability of one alignment (L, N), and its mean over the frames."""
    tokens_of = np.repeat(np.arange(len(durations)), durations)
    each = [float(log_attention[frame, token]) for frame, token in enumerate(tokens_of)]
    return sum(each), np.mean(each)


def padded_batch(seed=0):
    """Three utterances' log shares in one batch whose padding is NaN, and their lengths."""
    sizes = [(3, 6), (1, 2), (5, 9)]
    batch = torch.full((3, 9, 5), float("nan"), dtype=torch.float64)
    alone = [shares(*size, seed=seed + row) for row, size in enumerate(sizes)]
    for row, each in enumerate(alone):
        batch[row, : each.shape[1], : each.shape[2]] = each[0]
    return batch, alone, *torch.tensor(sizes).T


def test_forward_sum_is_the_sum_over_every_path():
    """Of tokens and blanks: a path counts if it reads 1, 2, ..., N once blanks and repetitions are gone."""
    for tokens, frames in [(1, 1), (1, 3), (2, 2), (2, 4), (3, 5)]:
        log_attention = shares(tokens, frames)
        logits = torch.cat((torch.full((frames, 1), -1.0), log_attention[0]), 1)
        probability = logits.softmax(-1)
        total = 0.0
        for path in itertools.product(range(tokens + 1), repeat=frames):
            read = [token for token, _ in itertools.groupby(path) if token]
            if read == list(range(1, tokens + 1)):
                total += math.prod(float(probability[frame, token]) for frame, token in enumerate(path))
        loss = forward_sum_loss(log_attention, torch.tensor([tokens]), torch.tensor([frames]))
        assert float(loss) == pytest.approx(-math.log(total) / tokens)


def test_without_blanks_it_sums_the_alignments_that_viterbi_searches():
    tokens, frames = 3, 6
    log_attention = shares(tokens, frames)
    total = 0.0
    for durations in paths(tokens, frames):
        total += math.exp(score(log_attention[0], durations)[0])
    loss = forward_sum_loss(log_attention, torch.tensor([tokens]), torch.tensor([frames]), log_blank=-1e3)
    assert float(loss) == pytest.approx(-math.log(total) / tokens)


def test_forward_sum_of_a_padded_batch_is_the_mean_of_its_utterances():
    batch, alone, tokens, frames = padded_batch()
    batch.requires_grad_()
    loss = forward_sum_loss(batch, tokens, frames)
    (gradient,) = torch.autograd.grad(loss, batch)
    single = [each.requires_grad_() for each in alone]
    losses = [
        forward_sum_loss(each, tokens[row : row + 1], frames[row : row + 1])
        for row, each in enumerate(single)
    ]
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    for row, each in enumerate(single):
        (wanted,) = torch.autograd.grad(losses[row] / 3, each)
        part = gradient[row, : each.shape[1], : each.shape[2]]
        torch.testing.assert_close(part, wanted[0])
        assert wanted.any()
        part.zero_()
    assert not gradient.any()


def test_forward_sum_gradient_agrees_with_finite_differences():
    log_attention, direction = shares(3, 6).requires_grad_(), shares(3, 6, seed=1)
    lengths = torch.tensor([3]), torch.tensor([6])
    (gradient,) = torch.autograd.grad(forward_sum_loss(log_attention, *lengths), log_attention)
    with torch.no_grad():
        after, before = (
            forward_sum_loss(log_attention + step * direction, *lengths) for step in (1e-6, -1e-6)
        )
    torch.testing.assert_close((gradient * direction).sum(), (after - before) / 2e-6)


def test_impossible_cells_give_no_nan():
    log_attention = shares(3, 6).clone()
    log_attention[0, 5, 0] = -math.inf
    log_attention.requires_grad_()
    loss = forward_sum_loss(log_attention, torch.tensor([3]), torch.tensor([6]))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(log_attention.grad).all() and log_attention.grad.any()


@pytest.mark.parametrize("function", [forward_sum_loss, monotonic_alignment])
@pytest.mark.parametrize(
    ("tokens", "frames", "says"),
    [
        ([2, 5], [6, 4], "utterance 1 .* 5 tokens and 4 frames"),
        ([2, 0], [6, 6], "1 "),
        ([2, 9], [6, 9], "only"),
    ],
)
def test_what_has_no_alignment_is_refused(function, tokens, frames, says):
    with pytest.raises(ValueError, match=says):
        function(torch.zeros(2, 6, 5), torch.tensor(tokens), torch.tensor(frames))


@settings(max_examples=40)
@given(size=st.sampled_from(SIZES), seed=st.integers(0, 10_000))
def test_viterbi_is_the_best_of_every_path(size, seed):
    tokens, frames = size
    log_attention = shares(tokens, frames, seed=seed)
    got = monotonic_alignment(log_attention, torch.tensor([tokens]), torch.tensor([frames]))[0].numpy()
    assert got.min() >= 1 and got.sum() == frames
    best = max(score(log_attention[0], durations)[0] for durations in paths(tokens, frames))
    assert score(log_attention[0], got)[0] == pytest.approx(best)


def test_viterbi_of_a_padded_batch_is_that_of_its_utterances():
    for seed in range(20):
        batch, alone, tokens, frames = padded_batch(seed)
        durations = monotonic_alignment(batch, tokens, frames)
        for row, each in enumerate(alone):
            single = monotonic_alignment(each, tokens[row : row + 1], frames[row : row + 1])
            assert torch.equal(durations[row, : tokens[row]], single[0])
            assert not durations[row, tokens[row] :].any()


@pytest.mark.parametrize("value", [-math.inf, math.nan])
def test_viterbi_is_complete_even_where_nothing_is_possible(value):
    log_attention = torch.full((1, 8, 5), value)
    durations = monotonic_alignment(log_attention, torch.tensor([5]), torch.tensor([8]))
    assert durations.min() >= 1 and durations.sum() == 8


def test_binarisation_of_a_padded_batch():
    batch, alone, tokens, frames = padded_batch()
    durations = monotonic_alignment(batch, tokens, frames)
    batch = batch.nan_to_num(-math.inf).requires_grad_()
    loss = binarisation_loss(batch, durations, frames)
    want = []
    for row, each in enumerate(alone):
        want.append(-score(each[0], durations[row, : tokens[row]].numpy())[1])
    assert float(loss.detach()) == pytest.approx(np.mean(want))
    (gradient,) = torch.autograd.grad(loss, batch)
    on_path = -1 / (3 * frames[:, None, None].double())
    torch.testing.assert_close(gradient.sum((1, 2)), torch.full((3,), -1 / 3, dtype=torch.float64))
    assert ((gradient == 0) | (gradient - on_path).abs().lt(1e-12)).all()
    assert (gradient != 0).sum() == frames.sum()


@pytest.mark.parametrize(("tokens", "frames"), [(1, 1), (1, 7), (4, 4), (6, 40), (60, 500)])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_prior_is_a_distribution_that_reads_alike_in_both_directions(tokens, frames, scale):
    prior = beta_binomial_prior(torch.tensor([tokens]), torch.tensor([frames]), scale)[0].double()
    torch.testing.assert_close(prior.exp().sum(1), torch.ones(frames, dtype=torch.float64), rtol=0, atol=1e-4)
    torch.testing.assert_close(prior, prior.flip(0, 1), rtol=1e-4, atol=1e-4)
    mean = (prior.exp() * torch.arange(tokens)).sum(1)
    line = (tokens - 1) * torch.arange(1, frames + 1, dtype=torch.float64) / (frames + 1)
    torch.testing.assert_close(mean, line, rtol=1e-3, atol=1e-3)


def test_prior_against_a_beta_mixture_of_binomials():
    """The definition: a binomial whose probability is drawn from a beta distribution, on a grid."""
    tokens, frames = 5, 8
    p = (np.arange(20_000) + 0.5) / 20_000
    prior = beta_binomial_prior(torch.tensor([tokens]), torch.tensor([frames]))[0].exp()
    for frame in range(1, frames + 1):
        density = p ** (frame - 1) * (1 - p) ** (frames - frame)
        density /= density.sum()
        for token in range(tokens):
            want = math.comb(tokens - 1, token) * (density * p**token * (1 - p) ** (tokens - 1 - token)).sum()
            assert float(prior[frame - 1, token]) == pytest.approx(want, rel=1e-3)


def test_priors_of_a_batch_are_those_of_its_utterances_and_zero_in_padding():
    tokens, frames = torch.tensor([3, 5, 3]), torch.tensor([9, 6, 9])
    batch = beta_binomial_prior(tokens, frames)
    assert batch.shape == (3, 9, 5)
    for row in range(3):
        own, long = int(tokens[row]), int(frames[row])
        single = beta_binomial_prior(tokens[row : row + 1], frames[row : row + 1])
        assert torch.equal(batch[row, :long, :own], single[0]) and single.any()
        assert not batch[row, long:].any() and not batch[row, :, own:].any()
    batch.fill_(7)  # what one caller does to its prior must not reach the next one's
    assert not (beta_binomial_prior(tokens, frames) == 7).any()


@settings(max_examples=40)
@given(
    durations=st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=3),
    padding=st.integers(0, 3),
)
def test_tokens_and_means_by_repetition(durations, padding):
    frames = max(1, max(map(sum, durations))) + padding
    values = torch.randn(len(durations), frames)
    counted = torch.rand(len(durations), frames) < 0.7
    given_durations = torch.tensor(durations)
    tokens = token_of_frame(given_durations, frames)
    means = average_by_duration(values, given_durations)
    of_counted = average_by_duration(values, given_durations, counted)
    for row, each in enumerate(durations):
        want = np.repeat(np.arange(3), each)
        assert tokens[row, : len(want)].tolist() == want.tolist()
        assert (tokens[row, len(want) :] == 2).all()
        for token in range(3):
            inside = torch.from_numpy(np.flatnonzero(want == token))
            mine, voiced = values[row, inside], counted[row, inside]
            assert float(means[row, token]) == pytest.approx(float(mine.mean()) if len(mine) else 0, abs=1e-5)
            mean = float(mine[voiced].mean()) if voiced.any() else 0
            assert float(of_counted[row, token]) == pytest.approx(mean, abs=1e-5)


def test_what_is_not_counted_may_be_nan():
    values = torch.tensor([[1.0, math.nan, 3.0]])
    assert average_by_duration(values, torch.tensor([[3]]), ~values.isnan()).tolist() == [[2.0]]


def test_durations_longer_than_the_values_are_refused():
    with pytest.raises(ValueError, match="5 frames for 4 values"):
        average_by_duration(torch.zeros(1, 4), torch.tensor([[3, 2]]))
