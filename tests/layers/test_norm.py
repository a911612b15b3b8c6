"""MaskedBatchNorm against torch's batch norm of the real tokens alone."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imlspike.layers import Layout, MaskedBatchNorm
from imlspike.layers.norm import recomputing


def randomised(norm):
    with torch.no_grad():
        for t in (norm.weight, norm.bias, norm.running_mean):
            if t is not None:
                t.copy_(torch.randn_like(t))
        norm.running_var.uniform_(0.5, 2)
    return norm


@given(
    lengths=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    padding=st.integers(0, 4),
    frequencies=st.sampled_from([None, 1, 5]),
    steps=st.integers(1, 3),
    momentum=st.sampled_from([0.1, 0.5, None]),
)
def test_training_sees_real_tokens_only(lengths, padding, frequencies, steps, momentum):
    channels, tokens = 3, max(lengths) + padding
    ours = randomised(MaskedBatchNorm(channels, momentum=momentum).double())
    theirs = torch.nn.BatchNorm1d(channels, momentum=momentum).double()
    theirs.load_state_dict(ours.state_dict())
    mask = torch.arange(tokens) < torch.tensor(lengths)[:, None]
    shape = (
        (len(lengths), tokens, channels)
        if frequencies is None
        else (len(lengths), tokens, frequencies, channels)
    )
    for _ in range(steps):
        x = 3 * torch.randn(shape, dtype=torch.float64) + 1
        x[~mask] = 1e3
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        out = ours(a, Layout(torch.tensor(lengths), tokens))
        packed = theirs(b[mask].reshape(-1, channels))
        torch.testing.assert_close(out[mask].reshape(-1, channels), packed)
        assert not out[~mask].any()
        weights = torch.randn_like(packed)
        (got,) = torch.autograd.grad((out[mask].reshape(-1, channels) * weights).sum(), a)
        (want,) = torch.autograd.grad((packed * weights).sum(), b)
        torch.testing.assert_close(got, want)
        for name, buffer in theirs.named_buffers():
            torch.testing.assert_close(getattr(ours, name), buffer)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x)[mask].reshape(-1, channels), theirs(x[mask].reshape(-1, channels)))


def test_padding_content_has_no_effect():
    norm, layout = randomised(MaskedBatchNorm(4)), Layout(torch.tensor([9, 5, 1]), 9)
    mask = layout.mask
    x = torch.randn(3, 9, 4)
    for training in (True, False):
        norm.train(training)
        one, other = copy.deepcopy(norm), copy.deepcopy(norm)
        louder = torch.where(mask[..., None], x, x * float("inf"))
        assert torch.equal(one(x, layout)[mask], other(louder, layout)[mask])
        for a, b in zip(one.buffers(), other.buffers(), strict=True):
            assert torch.equal(a, b)


def test_without_a_layout_and_on_packed_tokens_it_is_a_plain_batch_norm():
    x = torch.randn(2, 6, 4)
    for view in (x, x.reshape(12, 4), x.reshape(2, 3, 2, 4)):
        torch.testing.assert_close(
            MaskedBatchNorm(4)(view).reshape(12, 4), torch.nn.BatchNorm1d(4)(x.reshape(12, 4))
        )


@pytest.mark.parametrize("affine", [True, False])
def test_the_affine_map_is_what_evaluation_does(affine):
    norm = randomised(MaskedBatchNorm(5, affine=affine).double()).eval()
    scale, shift = norm.affine_map()
    x = torch.randn(7, 5, dtype=torch.float64)
    torch.testing.assert_close(norm(x), x * scale + shift, rtol=1e-12, atol=1e-12)


def unchanged(norm, x, **how):
    """Whether training gives what evaluation does and no statistic moves."""
    before = copy.deepcopy(norm)
    torch.testing.assert_close(norm(x, **how), before.eval()(x))
    return all(torch.equal(a, b) for a, b in zip(norm.buffers(), before.buffers(), strict=True))


def test_without_a_variance_or_a_gradient_it_is_that_of_evaluation():
    """One value a channel; no parameter that wants a gradient, its own or its owner's."""
    x, owner = torch.randn(5, 3) + 2, torch.nn.Linear(3, 3)
    norm, plain = randomised(MaskedBatchNorm(3)), randomised(MaskedBatchNorm(3, affine=False))
    assert unchanged(norm, x[:1])
    norm.bias.requires_grad_(False)
    assert not torch.equal(copy.deepcopy(norm)(x), copy.deepcopy(norm).eval()(x))
    norm.weight.requires_grad_(False)
    assert unchanged(norm, x)
    assert not torch.equal(copy.deepcopy(plain)(x, owner=owner), copy.deepcopy(plain).eval()(x))
    assert unchanged(plain, x, owner=owner.requires_grad_(False))


def test_a_second_forward_for_gradients_leaves_the_statistics():
    x, norm = torch.randn(5, 3), MaskedBatchNorm(3)
    first = norm(x)
    seen = copy.deepcopy(norm)
    with recomputing():
        assert torch.equal(norm(x), first)
    assert all(torch.equal(a, b) for a, b in zip(norm.buffers(), seen.buffers(), strict=True))


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_single_precision_is_enough(offset):
    """Also where the mean is a thousand deviations away."""
    x = torch.randn(4000, 6, dtype=torch.float64) + offset
    norm, weights = MaskedBatchNorm(6), torch.randn_like(x)
    grads = []
    for module, rows in ((norm, x.float()), (copy.deepcopy(norm).double(), x)):
        rows.requires_grad_()
        y = module(rows)
        grads.append((y.double(), torch.autograd.grad(y, rows, weights.to(y.dtype))[0].double()))
    for got, want in zip(*grads, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3 if offset else 1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("affine", [True, False])
def test_half_precision(dtype, affine):
    """Under autocast fp32 comes out; of a module that was cast its own dtype, and its statistics move."""
    x = torch.randn(2, 40, 4) * 3 + 1
    norm = MaskedBatchNorm(4, affine=affine)
    assert norm(x.to(dtype)).dtype == torch.float32
    cast = copy.deepcopy(norm).to(dtype)
    y = cast(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), norm(x), rtol=0.05, atol=0.05)
    torch.testing.assert_close(cast.running_mean.float(), norm.running_mean, rtol=0.05, atol=0.05)
    torch.testing.assert_close(cast.eval()(x.to(dtype)).float(), norm.eval()(x), rtol=0.1, atol=0.1)
