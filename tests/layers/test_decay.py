"""Decay attention against two other programs: a triple loop in numpy, and the linear-time recurrence."""

import math
from concurrent.futures import ThreadPoolExecutor
from math import inf, nan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.layers import DecayAttention, decay_attention, hierarchical_decay, row_sums
from imlspike.layers.decay import CHUNK, CHUNKED_FROM, DIRECTIONS, _powers

GAMMAS = st.sampled_from([1.0, 0.998, 0.9, 0.5, 0.1, 1e-4])
FORMS = ("quadratic", "chunked")


def seen(i, j, direction):
    return direction == "both" or (j <= i if direction == "past" else j >= i)


def by_triple_loop(q, k, v, gamma, lengths, directions, look_ahead=inf):
    """The formula, one product at a time, in float64; only real tokens are ever touched."""
    q, k, v = (np.asarray(t.detach(), dtype=np.float64) for t in (q, k, v))
    out = np.zeros_like(v)
    for b, n in enumerate(lengths):
        for h, direction in enumerate(directions):
            for i in range(n):
                total = 0.0
                for j in range(n):
                    if seen(i, j, direction) and j // (look_ahead + 1) <= i // (look_ahead + 1):
                        weight = float(gamma[h]) ** abs(i - j)
                        total += weight
                        out[b, h, i] += weight * (q[b, h, i] @ k[b, h, j]) * v[b, h, j]
                out[b, h, i] /= total * math.sqrt(q.shape[-1])
    return out


def by_recurrence(q, k, v, gamma):
    """F_i = gamma F_{i-1} + k_i^T v_i, B_i likewise, o_i = q_i (F_i + B_i - k_i^T v_i), one utterance."""
    tokens, width = q.shape
    kv = k[:, :, None] * v[:, None, :]
    ahead, behind = [None] * tokens, [None] * tokens
    sum_ahead, sum_behind = [0.0] * tokens, [0.0] * tokens
    state, count = torch.zeros(width, width, dtype=q.dtype), 0.0
    for i in range(tokens):
        state, count = gamma * state + kv[i], gamma * count + 1
        behind[i], sum_behind[i] = state, count
    state, count = torch.zeros(width, width, dtype=q.dtype), 0.0
    for i in reversed(range(tokens)):
        state, count = gamma * state + kv[i], gamma * count + 1
        ahead[i], sum_ahead[i] = state, count
    rows = [q[i] @ (behind[i] + ahead[i] - kv[i]) / (sum_behind[i] + sum_ahead[i] - 1) for i in range(tokens)]
    return torch.stack(rows) / math.sqrt(width)


def operands(seed, batch, heads, tokens, width, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, heads, tokens, width, generator=generator, dtype=dtype) for _ in range(3)]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    lengths=st.lists(st.integers(1, 17), min_size=1, max_size=3),
    heads=st.lists(st.tuples(GAMMAS, st.sampled_from(DIRECTIONS)), min_size=1, max_size=3),
    width=st.integers(1, 4),
    chunk=st.integers(1, 9),
    padding=st.integers(0, 3),
    look_ahead=st.none() | st.integers(0, 9),
)
def test_both_forms_are_the_written_formula(seed, lengths, heads, width, chunk, padding, look_ahead):
    tokens = max(lengths) + padding
    q, k, v = operands(seed, len(lengths), len(heads), tokens, width)
    gamma, directions = torch.tensor([g for g, _ in heads], dtype=torch.float64), [d for _, d in heads]
    groups = () if look_ahead is None else (look_ahead,)
    want = by_triple_loop(q, k, v, gamma, lengths, directions, *groups)
    for form in FORMS:
        got = decay_attention(q, k, v, gamma, torch.tensor(lengths), form, directions, chunk, look_ahead)
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("gamma", [1.0, 0.97, 0.5, 1e-3])
def test_the_linear_time_recurrence(gamma):
    q, k, v = operands(1, 1, 1, 150, 5)
    want = by_recurrence(q[0, 0], k[0, 0], v[0, 0], gamma)
    for form in FORMS:
        got = decay_attention(q, k, v, torch.tensor([gamma], dtype=torch.float64), mode=form)
        torch.testing.assert_close(got[0, 0], want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("tokens", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 1, CHUNKED_FROM])
def test_forms_agree_at_the_edges_of_chunks(tokens):
    q, k, v = operands(tokens, 2, 3, tokens, 4)
    gamma, lengths = (
        torch.tensor([1.0, 0.9, 0.3], dtype=torch.float64),
        torch.tensor([tokens, max(tokens - 1, 1)]),
    )
    for direction in (*DIRECTIONS, DIRECTIONS):
        quadratic, chunked, auto = (
            decay_attention(q, k, v, gamma, lengths, mode, direction)
            for mode in ("quadratic", "chunked", "auto")
        )
        torch.testing.assert_close(chunked, quadratic, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(auto, quadratic, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("tokens", "direction"),
    [
        (700, ("past", "future")),
        (1025, ("both", "both")),
        (2049, ("future", "past")),
        (4000, ("both", "both")),
    ],
)
def test_forms_agree_on_long_utterances_in_single_precision(tokens, direction):
    """Forward and backward to 1e-4 in fp32, up to 4,000 tokens (at four frames a token, 16,000 frames)."""
    gamma, lengths = torch.tensor([0.992, 1.0]), torch.tensor([tokens - 3])
    inputs = [t.requires_grad_() for t in operands(tokens, 1, 2, tokens, 4, torch.float32)]
    weights = torch.randn(1, 2, tokens, 4)
    results = []
    for form in ("quadratic", "chunked", "auto"):
        out = decay_attention(*inputs, gamma, lengths, form, direction)
        results.append([out.detach(), *torch.autograd.grad(out, inputs, weights)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert torch.equal(results[2][0], results[1][0])  # so long that auto takes the chunked form


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    direction=st.sampled_from([*DIRECTIONS, ["past", "both"], ["future", "past"]]),
    gammas=st.tuples(GAMMAS, GAMMAS),
    chunk=st.integers(1, 12),
)
def test_gradients_agree(seed, lengths, direction, gammas, chunk):
    inputs = [t.requires_grad_() for t in operands(seed, len(lengths), 2, max(lengths) + 1, 3)]
    gamma = torch.tensor(gammas, dtype=torch.float64)
    weights = torch.randn(len(lengths), 2, max(lengths) + 1, 3, dtype=torch.float64)
    grads = []
    for form in FORMS:
        out = decay_attention(*inputs, gamma, torch.tensor(lengths), form, direction, chunk)
        grads.append(torch.autograd.grad(out, inputs, weights))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    padding = torch.arange(max(lengths) + 1) >= torch.tensor(lengths)[:, None]
    for grad in grads[0] + grads[1]:
        assert not grad.transpose(1, 2)[padding].any()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("direction", ["both", ["past", "future"]])
def test_gradients_are_those_of_finite_differences(form, direction):
    inputs = [t.requires_grad_() for t in operands(3, 2, 2, 7, 2)]
    gamma, lengths = torch.tensor([0.7, 1.0], dtype=torch.float64), torch.tensor([7, 4])
    assert torch.autograd.gradcheck(
        lambda q, k, v: decay_attention(q, k, v, gamma, lengths, form, direction, 3), inputs
    )


@settings(max_examples=30)
@given(
    gammas=st.lists(GAMMAS, min_size=1, max_size=4),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    direction=st.sampled_from(DIRECTIONS),
)
def test_row_sums_are_the_sums_of_the_mask(gammas, lengths, direction):
    tokens = max(lengths) + 2
    want = np.ones((len(lengths), len(gammas), tokens))
    for b, n in enumerate(lengths):
        for h, gamma in enumerate(gammas):
            for i in range(n):
                want[b, h, i] = sum(gamma ** abs(i - j) for j in range(n) if seen(i, j, direction))
    gamma = torch.tensor(gammas, dtype=torch.float64)
    got = row_sums(gamma, torch.tensor(lengths), tokens, direction)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)
    single = row_sums(gamma.float(), torch.tensor(lengths), tokens, direction)
    np.testing.assert_allclose(single.numpy(), want, rtol=1e-5)


def test_a_row_of_weights_sums_to_one():
    """Of equal values an average is taken, whatever the decay: q.k = sqrt(D) makes the output v itself."""
    q = k = torch.ones(2, 3, 300, 4) / 2**0.5
    v = torch.randn(2, 3, 1, 4).expand(2, 3, 300, 4)
    for form in FORMS:
        out = decay_attention(q, k, v, torch.tensor([0.3, 0.99, 1.0]), torch.tensor([300, 120]), form)
        torch.testing.assert_close(out[0], v[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(out[1, :, :120], v[1, :, :120], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_padding_has_no_effect_and_comes_out_as_zero(form, direction):
    lengths, tokens = torch.tensor([90, 1, 64, 33]), 95
    q, k, v = operands(5, 4, 2, tokens, 3, torch.float32)
    padding = (torch.arange(tokens) >= lengths[:, None])[:, None, :, None]
    gamma = torch.tensor([0.8, 1.0])
    out = decay_attention(q, k, v, gamma, lengths, form, direction)
    changed = [torch.where(padding, value, t) for t, value in zip((q, k, v), (nan, inf, -inf), strict=True)]
    assert torch.equal(decay_attention(*changed, gamma, lengths, form, direction), out)
    assert not out.masked_select(padding).any()
    for b, n in enumerate(lengths.tolist()):
        alone = decay_attention(*(t[b : b + 1, :, :n] for t in (q, k, v)), gamma, None, form, direction)
        torch.testing.assert_close(alone, out[b : b + 1, :, :n], rtol=1e-5, atol=1e-6)


def test_without_lengths_all_tokens_are_real():
    q, k, v = operands(6, 2, 2, 80, 3)
    gamma = torch.tensor([0.8, 1.0])
    for mode in ("auto", *FORMS):
        full = decay_attention(q, k, v, gamma, torch.tensor([80, 80]), mode)
        torch.testing.assert_close(decay_attention(q, k, v, gamma, None, mode), full, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["auto", *FORMS])
def test_no_tokens_at_all(mode):
    q, k, v = operands(0, 2, 2, 0, 3)
    assert decay_attention(q, k, v, torch.tensor([0.5, 1.0]), None, mode).shape == (2, 2, 0, 3)


def test_a_single_token_attends_to_itself():
    q, k, v = operands(7, 1, 2, 1, 4)
    want = (q * k).sum(-1, keepdim=True) * v / 2
    for mode in ("auto", *FORMS):
        for direction in DIRECTIONS:
            torch.testing.assert_close(
                decay_attention(q, k, v, torch.tensor([0.5, 1.0]), None, mode, direction), want
            )


@pytest.mark.parametrize("form", FORMS)
def test_a_direction_is_causal(form):
    """Changing token 70 changes nothing before it for the past, nothing after it for the future."""
    q, k, v = operands(8, 1, 3, 130, 3)
    gamma, directions = torch.tensor([0.9, 1.0, 0.9], dtype=torch.float64), ["past", "future", "both"]
    out = decay_attention(q, k, v, gamma, None, form, directions)
    changed = [t.clone() for t in (q, k, v)]
    for t in changed:
        t[:, :, 70] += 1
    moved = (decay_attention(*changed, gamma, None, form, directions) != out).any(-1)[0]
    assert not moved[0, :70].any() and moved[0, 70:].all()
    assert not moved[1, 71:].any() and moved[1, :71].all()
    assert moved[2].all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_dtype_is_kept(dtype):
    q, k, v = operands(9, 1, 2, 100, 4)
    gamma = hierarchical_decay(0, 2, 2)
    want = decay_attention(q, k, v, gamma.to(dtype).double())
    for form in FORMS:
        got = decay_attention(q.to(dtype), k.to(dtype), v.to(dtype), gamma, mode=form)
        assert got.dtype == dtype
        torch.testing.assert_close(
            got.double(), want, rtol=0.05, atol=0.03 if dtype == torch.bfloat16 else 0.005
        )


def test_the_module_is_the_function():
    gamma = hierarchical_decay(1, 3, 2)
    q, k, v = operands(10, 2, 2, 20, 3, torch.float32)
    lengths = torch.tensor([20, 11])
    for direction in ("both", ("past", "future")):
        module = DecayAttention(gamma, direction, "chunked")
        want = decay_attention(q, k, v, gamma, lengths, "chunked", direction)
        torch.testing.assert_close(module(q, k, v, lengths), want, rtol=1e-5, atol=1e-6)
        assert not module.state_dict()


def test_misspelt_choices_are_errors():
    q = torch.randn(1, 2, 3, 4)
    gamma = torch.tensor([0.5, 0.5])
    with pytest.raises(ValueError, match="auto, quadratic, chunked"):
        decay_attention(q, q, q, gamma, mode="quadratc")
    with pytest.raises(ValueError, match="both.*past.*future"):
        decay_attention(q, q, q, gamma, direction="forward")
    with pytest.raises(ValueError, match="each of 2 heads"):
        decay_attention(q, q, q, gamma, direction=["past"])
    with pytest.raises(ValueError, match="quadratc"):
        DecayAttention(gamma, mode="quadratc")
    with pytest.raises(ValueError, match="sideways"):
        DecayAttention(gamma, ["past", "sideways"])


@settings(max_examples=60)
@given(
    layers=st.integers(1, 20),
    heads=st.integers(1, 9),
    a=st.sampled_from([0.5, 1.0, 2.0]),
    b=st.sampled_from([0.0, 2.5, 5.0]),
    c=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_hierarchical_decay_is_the_written_formula(layers, heads, a, b, c):
    gammas = torch.stack([hierarchical_decay(layer, layers, heads, a, b, c) for layer in range(layers)])
    for layer in range(layers):
        for head in range(heads):
            depth = layer / (layers - 1) if layers > 1 else 0.0
            want = 1 - 2 ** -(a + b * depth + c * head / heads)
            assert gammas[layer, head].item() == pytest.approx(want, rel=1e-6)
    assert ((gammas > 0) & (gammas < 1)).all()
    assert (gammas.diff(dim=0) > 0).all() if b else (gammas.diff(dim=0) == 0).all()
    assert (gammas.diff(dim=1) > 0).all() if c else (gammas.diff(dim=1) == 0).all()


def test_uniform_and_no_decay_know_neither_layer_nor_head():
    for layer in range(4):
        uniform = hierarchical_decay(layer, 4, 3, a=1.0, b=5.0, c=1.0, kind="uniform")
        assert torch.equal(uniform, torch.full((3,), 1 - 2**-4.0))
        assert torch.equal(hierarchical_decay(layer, 4, 3, kind="none"), torch.ones(3))
    with pytest.raises(ValueError, match="hierarchical, uniform or none"):
        hierarchical_decay(0, 4, 3, kind="hierarchic")


def test_powers_in_single_precision():
    """To 1e-7, however far out, of decays as near to 1 as the layers have them."""
    gamma = 1 - 2.0 ** -torch.tensor([1.0, 3.3, 6.0, 12.0, 24.0], dtype=torch.float64)
    exponents = torch.arange(0, 200_000, 7)
    want = (gamma.log()[:, None] * exponents).exp()
    got = _powers(gamma.log().float(), exponents)
    assert (got.double() - want).abs().max() < 1e-7


RECURRENT = st.lists(st.sampled_from([0.05, 0.5, 0.9, 1 - 2**-7, 1 - 2**-24, 1.0]), min_size=1, max_size=3)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), gammas=RECURRENT, tokens=st.integers(1, 12), mode=st.sampled_from(FORMS))
def test_token_by_token_is_at_once(seed, gammas, tokens, mode):
    gamma = torch.tensor(gammas, dtype=torch.float64)
    attention = DecayAttention(gamma, "past", mode)
    q, k, v = operands(seed, 2, len(gammas), tokens, 4)
    state, outputs = q.new_zeros(2, len(gammas), 4, 4), []
    for i in range(tokens):
        out, state = attention.step(*(t[:, :, i : i + 1] for t in (q, k, v)), state, i)
        outputs.append(out)
    together = torch.cat(outputs, 2)
    torch.testing.assert_close(
        together, decay_attention(q, k, v, gamma, direction="past"), rtol=1e-7, atol=1e-9
    )
    torch.testing.assert_close(attention(q, k, v), together, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("real", [1, 2, 4])
def test_a_last_step_that_is_filled_up_is_as_one_that_is_not(real):
    attention = DecayAttention(torch.tensor([0.5, 0.9], dtype=torch.float64), ["past", "both"])
    q, k, v = operands(0, 2, 2, 5, 4)
    state = torch.rand(2, 2, 4, 4, dtype=torch.float64)
    want, _ = attention.step(*(t[:, :, :real] for t in (q, k, v)), state, 7, 4)
    got, _ = attention.step(q, k, v, state, 7, 4, real=torch.tensor([real, real]))
    torch.testing.assert_close(got[:, :, :real], want, rtol=1e-12, atol=0)


def test_the_divisor_is_the_sum_of_the_row_far_out():
    """After many tokens as well, where a power of gamma has vanished or hasn't."""
    gamma = torch.tensor([0.5, 1 - 2**-7, 1.0], dtype=torch.float64)
    attention = DecayAttention(gamma, "past")
    want = row_sums(gamma, torch.tensor([5000]), 5000, "past")[0]
    ones = torch.ones(1, 3, 1, 1, dtype=torch.float64)
    for past in (0, 1, 100, 4999):
        got, _ = attention.step(ones, ones, ones, torch.zeros_like(ones), past)
        torch.testing.assert_close(1 / got.flatten(), want[:, past], rtol=1e-9, atol=0)


def test_dropout_works_in_training_only():
    attention = DecayAttention(torch.tensor([0.5]), dropout=0.5)
    q = torch.ones(1, 1, 50, 4)
    assert not attention.eval()(q, q, q).eq(0).any()
    assert 0.2 < attention.train()(q, q, q).eq(0).float().mean() < 0.8


def test_one_module_serves_many_threads():
    """Nothing is kept from one call to the next."""
    attention = DecayAttention(hierarchical_decay(0, 2, 2))
    inputs = [operands(n, 1, 2, n, 4, torch.float32) for n in (5, 60, 450, 900)]
    wanted = [attention(*each) for each in inputs]
    with ThreadPoolExecutor(4) as pool:
        for got, want in zip(pool.map(lambda each: attention(*each), inputs * 20), wanted * 20, strict=True):
            assert torch.equal(got, want)


def test_half_precision_holds_a_long_utterance_without_decay():
    """A plain sum of key times value over 4,000 tokens would be infinite."""
    torch.manual_seed(0)
    q, k, v = (torch.randint(4, 7, (1, 2, 4000, 8)).half() for _ in "qkv")
    gamma = torch.tensor([1.0, 0.999])
    want = decay_attention(q.double(), k.double(), v.double(), gamma.double(), mode="quadratic")
    got = decay_attention(q, k, v, gamma, mode="chunked")
    torch.testing.assert_close(got.double(), want, rtol=0.02, atol=0)
