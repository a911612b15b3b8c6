"""MaskedBatchNorm against torch's batch norm of the real tokens alone."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.layers import MaskedBatchNorm, norm_functions, norm_loops
from imlspike.layers.norm_functions import masked_norm
from imlspike.neurons import LIF, PLIF


def randomised(norm):
    with torch.no_grad():
        for t in (norm.weight, norm.bias, norm.running_mean):
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
        out = ours(a, mask)
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
    torch.testing.assert_close(
        ours(x, mask)[mask].reshape(-1, channels), theirs(x[mask].reshape(-1, channels))
    )


def test_padding_content_has_no_effect():
    norm, mask = randomised(MaskedBatchNorm(4)), torch.arange(9) < torch.tensor([[9], [5], [1]])
    x = torch.randn(3, 9, 4)
    for training in (True, False):
        norm.train(training)
        one, other = copy.deepcopy(norm), copy.deepcopy(norm)
        louder = torch.where(mask[..., None], x, x * 1e6)
        assert torch.equal(one(x, mask)[mask], other(louder, mask)[mask])
        for a, b in zip(one.buffers(), other.buffers(), strict=True):
            assert torch.equal(a, b)


def test_without_a_mask_and_on_packed_tokens_it_is_a_plain_batch_norm():
    x = torch.randn(2, 6, 4)
    for view in (x, x.reshape(12, 4), x.reshape(2, 3, 2, 4)):
        torch.testing.assert_close(
            MaskedBatchNorm(4)(view).reshape(12, 4), torch.nn.BatchNorm1d(4)(x.reshape(12, 4))
        )


def test_the_affine_map_is_what_evaluation_does():
    norm = randomised(MaskedBatchNorm(5).double()).eval()
    scale, shift = norm.affine_map()
    x = torch.randn(7, 5, dtype=torch.float64)
    torch.testing.assert_close(norm(x), x * scale + shift, rtol=1e-12, atol=1e-12)


def test_one_value_a_channel_has_no_variance():
    mask = torch.tensor([[True, False]])
    with pytest.raises(ValueError, match="more than 1 value"):
        MaskedBatchNorm(3)(torch.randn(1, 2, 3), mask)


def some_rows(seed, rows, channels, padding):
    """x, with loud padding; which rows are real, at least four; the norm's scale and shift."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, channels, generator=generator) * 3 + 2
    real = torch.rand(rows, generator=generator) >= padding
    real[:4] = True
    x[~real] = 1e20
    return x, real, *torch.randn(2, channels, generator=generator)


serve = norm_loops.serve(torch.zeros(1))
needs_loops = pytest.mark.skipif(not serve, reason="the loops weren't compiled")


@needs_loops
@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 99),
    rows=st.integers(4, 70),
    channels=st.sampled_from([1, 15, 130]),
    padding=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_the_loops_compute_the_formula(seed, rows, channels, padding):
    x, real, weight, bias = some_rows(seed, rows, channels, padding)
    grad, eps = torch.randn(rows, channels), 1e-5
    leaves = [each.clone().requires_grad_() for each in (x, weight, bias)]
    y, mean, variance = masked_norm(leaves[0], real, int(real.sum()), *leaves[1:], eps)
    y.backward(grad)
    exact = [each.double().requires_grad_() for each in (x[real], weight, bias)]
    square, center = torch.var_mean(exact[0], 0, correction=0)
    wanted = (exact[0] - center) * (square + eps).rsqrt() * exact[1] + exact[2]
    wanted.backward(grad[real].double())
    torch.testing.assert_close(mean, center.detach())
    torch.testing.assert_close(variance, square.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(y[real].double(), wanted, rtol=1e-5, atol=1e-4)
    assert not y[~real].any() and not leaves[0].grad[~real].any()
    size = ((square + eps).rsqrt() * exact[1]).abs().max().item()  # of what nearly cancels in few rows
    torch.testing.assert_close(leaves[0].grad[real].double(), exact[0].grad, rtol=1e-4, atol=1e-4 * size)
    for ours, theirs in zip(leaves[1:], exact[1:], strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-4)


@needs_loops
def test_the_loops_and_the_operations_agree(monkeypatch):
    x, real, weight, bias = some_rows(0, 200, 40, 0.3)
    x, grad = torch.where(real[:, None], x, 0), torch.randn(200, 40)
    results = []
    for way in ("loops", "operations"):
        if way == "operations":
            monkeypatch.setattr(norm_loops, "serve", lambda x: False)
        leaves = [each.clone().requires_grad_() for each in (x, weight, bias)]
        y, *statistics = masked_norm(leaves[0], real, int(real.sum()), *leaves[1:], 1e-5)
        y.backward(grad)
        results.append([y, *statistics, *(leaf.grad for leaf in leaves)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@needs_loops
@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 99),
    steps=st.integers(1, 5),
    tokens=st.sampled_from([3, 80]),
    channels=st.sampled_from([1, 17, 1500]),
    kind=st.sampled_from([LIF, PLIF]),
    full=st.booleans(),
)
def test_neurons_behind_a_norm_are_those_of_the_two_in_turn(seed, steps, tokens, channels, kind, full):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, 2, tokens, channels, generator=generator)
    mask = torch.arange(tokens) < torch.tensor([tokens, tokens if full else 2])[:, None]
    x.masked_fill_(~mask[..., None], 1e10)
    grad, neuron = torch.randn(x.shape, generator=generator), kind(tau=1.7)
    ours, theirs = (randomised(MaskedBatchNorm(channels)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    got = ours.fire(neuron, leaves[0], mask)
    got.backward(grad)
    of_leak = [each.grad.clone() for each in neuron.parameters()]
    neuron.zero_grad()
    real = mask.repeat(steps, 1).flatten()
    affine = (int(real.sum()), theirs.weight, theirs.bias, theirs.eps)
    normed, *statistics = masked_norm(leaves[1].flatten(0, -2), real, *affine)
    wanted = neuron(normed.view(x.shape))
    wanted.backward(grad)
    assert torch.equal(got, wanted)
    pairs = [(leaf.grad for leaf in leaves), (ours.weight.grad, theirs.weight.grad)]
    pairs += [(ours.bias.grad, theirs.bias.grad)]
    pairs += zip(of_leak, (each.grad for each in neuron.parameters()), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * max(1, b.abs().max().item()))
    theirs._track(*statistics, affine[0])
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_who_watches_a_neuron_sees_what_enters_it():
    norm, neuron, seen = MaskedBatchNorm(4), LIF(), []
    neuron.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = torch.randn(3, 2, 5, 4)
    mask = torch.arange(5) < torch.tensor([5, 2])[:, None]
    assert norm_functions.firing_serves(x, norm, LIF()) == serve
    assert not norm_functions.firing_serves(x, norm, neuron)
    spikes = norm.fire(neuron, x, mask)
    assert torch.equal(spikes, LIF()(seen[0])) and not seen[0][:, ~mask].any()


@needs_loops
def test_threads_share_the_rows():
    x, real, *affine = some_rows(1, 600, 130, 0.3)
    p, threads, results = LIF()._parameters_for(x), torch.get_num_threads(), []
    grad = torch.randn(x.shape)
    for count in (1, 3):
        torch.set_num_threads(count)
        try:
            spikes = norm_loops.fire(x, real, *affine, 2, 0.5, p)
            out, *sums, _ = norm_loops.fire_back(x, real, *affine, 2, 0.5, p, grad)
        finally:
            torch.set_num_threads(threads)
        results.append([spikes, out[real], *sums])
    assert all(torch.equal(*pair) for pair in list(zip(*results, strict=True))[:2])
    for one, several in list(zip(*results, strict=True))[2:]:
        torch.testing.assert_close(one, several)
