"""CTC prefix probabilities against the sum over all paths, and against ESPnet's recursion."""

from itertools import groupby, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.inference.ctc_prefix import IMPOSSIBLE, CTCPrefix

EOS = 3  # blank 0, two tokens, <eos>: with it the sum over all paths has few terms


def said_by(path: tuple[int, ...]) -> tuple[int, ...]:
    """A path's tokens: repetitions merged, blanks left out."""
    return tuple(token for token, _ in groupby(path) if token)


def brute_force(log_probs: torch.Tensor, said: list[int]) -> torch.Tensor:
    """log p of labels that begin with `said` and another token (V,); for <eos>, of exactly `said`."""
    total = torch.zeros(EOS + 1, dtype=torch.float64)
    for path in product(range(EOS), repeat=len(log_probs)):
        labels = said_by(path)
        probability = log_probs[range(len(path)), path].sum().exp()
        if labels[: len(said)] == tuple(said):
            total[labels[len(said)] if len(labels) > len(said) else EOS] += probability
    return total.log()


@settings(max_examples=20, deadline=None)
@given(
    frames=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    said=st.lists(st.integers(1, 2), max_size=3),
    seed=st.integers(0, 2**16),
)
def test_sum_over_all_paths(frames, said, seed):
    """Utterances of several lengths together: each prefix has the probability of all paths that say it."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(len(frames), max(frames), EOS + 1, generator=generator, dtype=torch.float64)
    logits[..., EOS] = -100.0  # nobody trains it
    log_probs = logits.log_softmax(-1)
    prefix = CTCPrefix(log_probs, torch.tensor(frames), beam=1, eos=EOS)
    total = torch.zeros(len(frames), dtype=torch.float64)
    for step in range(len(said) + 1):
        scores = prefix.scores()[:, 0]
        assert step or (scores[:, 0] == IMPOSSIBLE).all()  # a label is never a blank
        for u, length in enumerate(frames):
            expected = brute_force(log_probs[u, :length], said[:step])
            found = (scores[u] + total[u])[1:]
            possible = expected[1:] > -90
            torch.testing.assert_close(found[possible], expected[1:][possible], atol=1e-9, rtol=0)
            assert (found[~possible] < -80).all()
        if step < len(said):
            tokens = torch.full((len(frames), 1), said[step])
            total = total + scores[:, said[step]]
            prefix.advance(torch.zeros_like(tokens), tokens)


@pytest.mark.parametrize(("frames", "vocabulary", "scale"), [(30, 11, 1.0), (120, 40, 8.0), (50, 200, 4.0)])
def test_espnets_recursion(frames, vocabulary, scale):
    """Long utterances, peaky posteriors, chosen candidates, slots that change places, repeated tokens."""
    from espnet.nets.ctc_prefix_score import CTCPrefixScoreTH

    generator = torch.Generator().manual_seed(1)
    random = dict(generator=generator, dtype=torch.float64)
    log_probs = (scale * torch.randn(2, frames, vocabulary, **random)).log_softmax(-1)
    lengths, beam, eos = torch.tensor([frames, frames - 7]), 3, vocabulary - 1
    ours = CTCPrefix(log_probs, lengths, beam, eos=eos)
    theirs = [
        CTCPrefixScoreTH(log_probs[u : u + 1, :n].clone(), lengths[u : u + 1], 0, eos)
        for u, n in enumerate(lengths)
    ]
    said, states = torch.full((2, beam, 1), eos), [None, None]
    for step in range(12):
        candidates = torch.rand(2, beam, vocabulary, generator=generator).topk(5).indices
        candidates[..., 0] = said[..., -1]  # a token that is repeated
        scores = ours.scores(candidates)
        parents = torch.randint(beam, (2, beam), generator=generator)
        tokens = candidates.gather(1, parents[..., None].expand(-1, -1, 5))[..., step % 5].clone()
        tokens[(tokens == eos) | (tokens == 0)] = 1
        scores_all = ours.scores()
        for u in range(2):
            expected, (r, psi, *_) = theirs[u](said[u], states[u], None)
            for slot in range(beam):
                usable = candidates[u, slot][(candidates[u, slot] != 0)]
                torch.testing.assert_close(scores[u, slot, usable], expected[slot, usable], atol=1e-8, rtol=0)
            torch.testing.assert_close(scores_all[u][:, 1:], expected[:, 1:], atol=1e-8, rtol=0)
            paths = torch.stack([r[:, :, p, t] for p, t in zip(parents[u], tokens[u], strict=True)], 2)
            start = torch.stack(
                [psi[p, t].expand(vocabulary) for p, t in zip(parents[u], tokens[u], strict=True)]
            )
            states[u] = (paths, start, 0, 0)
        ours.advance(parents, tokens)
        said = torch.cat([said.gather(1, parents[..., None].expand_as(said)), tokens[..., None]], 2)


def test_utterances_leave():
    """Utterances that go on after others ended do as they would have done alone."""
    generator = torch.Generator().manual_seed(2)
    log_probs = torch.randn(3, 20, 9, generator=generator).log_softmax(-1)
    lengths, parents, tokens = (
        torch.tensor([20, 13, 17]),
        torch.tensor([[1, 0]] * 3),
        torch.tensor([[2, 5]] * 3),
    )
    left = torch.tensor([0, 2])
    together = CTCPrefix(log_probs, lengths, 2, eos=8)
    alone = CTCPrefix(log_probs[left], lengths[left], 2, eos=8)
    for prefix, which in ((together, None), (alone, None)):
        prefix.scores()
        prefix.advance(parents[: len(prefix.last)], tokens[: len(prefix.last)], which)
        prefix.scores()
    together.advance(parents[left], tokens[left], left)
    alone.advance(parents[left], tokens[left])
    torch.testing.assert_close(together.scores(), alone.scores())
