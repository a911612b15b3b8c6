"""The n-gram language model against a second program of the formula, and what decodes with it."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.inference.beam_search import BeamSearch, SearchOptions
from imlspike.inference.ngram import NGramLanguageModel

V = 5  # four tokens and <sos/eos>


def probability(token, history, texts, order, discount):
    """The formula, recursively, counting in the texts themselves."""
    ngrams = Counter()
    for text in texts:
        padded = (V - 1,) * (order - 1) + tuple(text) + (V - 1,)
        ngrams.update(padded[i : i + order] for i in range(len(padded) - order + 1))

    def follow(history):
        """Token to its count behind a history."""
        if len(history) == order - 1:
            return {gram[-1]: n for gram, n in ngrams.items() if gram[:-1] == history}
        longer = {gram[order - 2 - len(history) :] for gram in ngrams}
        return Counter(gram[-1] for gram in longer if gram[1:-1] == history)

    def p(history):
        below = p(history[1:]) if history else 1 / V
        counts = follow(history)
        total = sum(counts.values())
        if not total:
            return below
        return (max(counts.get(token, 0) - discount, 0) + discount * len(counts) * below) / total

    return p(tuple(history))


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.lists(st.integers(0, V - 2), max_size=6), min_size=1, max_size=5),
    history=st.lists(st.integers(0, V - 2), max_size=4),
    order=st.integers(1, 4),
    discount=st.sampled_from([0.3, 0.75, 0.95]),
)
def test_probabilities_are_the_formulas_and_sum_to_one(texts, history, order, discount):
    lm = NGramLanguageModel.fit(texts, V, order, discount)
    padded = (V - 1,) * (order - 1) + tuple(history)
    got = lm.log_probs(padded).double().exp()
    kept = padded[len(padded) - order + 1 :]
    want = [probability(token, kept, texts, order, discount) for token in range(V)]
    assert got.tolist() == pytest.approx(want, rel=1e-5) and got.sum() == pytest.approx(1, abs=1e-5)
    again = NGramLanguageModel(V, order, len(lm.ngrams), discount)
    again.load_state_dict(lm.state_dict())
    assert torch.equal(again.log_probs(padded), lm.log_probs(padded))
    scored = lm.scorer(None, None, 1).score(torch.tensor([[[V - 1, *history]]]))
    assert torch.equal(scored[0, 0], lm.log_probs(padded))


def test_perplexity_is_that_of_the_probabilities():
    texts = [[0, 1, 2], [0, 1], [3, 3, 0]]
    lm = NGramLanguageModel.fit(texts, V, 3)
    total = 0.0
    for text in texts:
        padded = [V - 1, V - 1, *text, V - 1]
        total += sum(
            math.log(probability(padded[i], padded[i - 2 : i], texts, 3, 0.75)) for i in range(2, len(padded))
        )
    assert lm.perplexity(texts) == pytest.approx(math.exp(-total / 11), rel=1e-5)


def test_the_search_follows_the_language_model_where_ctc_doesnt_know():
    lm = NGramLanguageModel.fit([[1, 2, 3]] * 5, V, 3)
    hears = torch.full((1, 6, V), -9.0)  # blank is 0
    for frame, token in enumerate([1, 0, 2, 0, 3, 0]):
        hears[0, frame, token] = 0.0
    hears[0, 2, 3] = 0.1  # a little likelier than 2
    for weight, want in ((0.0, [1, 3, 3]), (0.5, [1, 2, 3])):
        options = SearchOptions(beam_size=4, ctc_weight=1.0, lm_weight=weight)
        search = BeamSearch(lambda x: x.log_softmax(-1), V - 1, options, None, lm.scorer)
        [found] = search(hears, torch.tensor([6]))
        assert found[0].tokens == want


@pytest.mark.parametrize("conf", [{"order": 0}, {"discount": 0.0}, {"discount": 1.0}])
def test_nonsense_is_refused(conf):
    with pytest.raises(ValueError, match=next(iter(conf))):
        NGramLanguageModel(V, **conf)
    with pytest.raises(ValueError, match="text"):
        NGramLanguageModel.fit([], V)
    lm = NGramLanguageModel.fit([[1, 2]], V, 2)
    lm.ngrams[0, 0] = V
    with pytest.raises(ValueError, match="token"):
        lm.scorer(None, None, 1)


def test_a_token_that_no_model_has_ends_the_history():
    lm = NGramLanguageModel.fit([[0, 1, 1, 2], [1, 0]], V, 3)
    for other in (V, V + 2, -1):
        assert torch.equal(lm.log_probs((other, 1)), lm.log_probs((1,)))
        assert torch.equal(lm.log_probs((other,)), lm.log_probs(()))


@pytest.mark.parametrize("rows", [[], [[0, 1], [0, 1]], [[0, V]], [[-1, 0]]])
def test_buffers_that_no_text_leaves_are_refused(rows):
    lm = NGramLanguageModel(V, 2, len(rows))
    lm.ngrams, lm.counts = torch.tensor(rows, dtype=torch.int32).reshape(-1, 2), torch.ones(len(rows)).int()
    with pytest.raises(ValueError, match="n-gram model"):
        lm.log_probs((0,))


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr("imlspike.inference.ngram.REMEMBERED", 3 * V)
    lm = NGramLanguageModel.fit([[0, 1, 2, 3]], V, 2)
    first = lm.log_probs((0,)).clone()
    for token in range(4):
        lm.log_probs((token,))
        assert len(lm._rows) <= 3
    assert torch.equal(lm.log_probs((0,)), first)
