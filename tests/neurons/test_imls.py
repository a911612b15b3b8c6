"""IMLS against the formula of the specification, written a second time in numpy and in exact fractions."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.neurons import IMLS
from imlspike.neurons.imls import THRESHOLDS

ADAPTIVE = ("token", "channel", "layer")


def reference_theta(x, threshold, kappa=0.45, eps=1e-5, value=1.0, lengths=None):
    """theta of (B, N, C) in float64, before its rounding to eight bits; a plain loop skips padding."""
    x = np.abs(np.asarray(x, dtype=np.float64))
    theta = np.full(x.shape, max(value, eps))
    for b in range(x.shape[0]):
        real = x[b, : lengths[b]] if lengths is not None else x[b]
        if threshold == "token":
            theta[b] = kappa * x[b].mean(axis=1, keepdims=True)
        elif threshold == "channel":
            theta[b] = kappa * real.mean(axis=0, keepdims=True)
        elif threshold == "layer":
            theta[b] = kappa * real.mean()
    return np.maximum(theta, eps)


def reference_counts(x, theta, levels):
    """Counts by comparison with every boundary; the products are exact in float64, and nothing is divided."""
    x, theta = np.float64(x), np.broadcast_to(np.float64(theta), x.shape)
    return sum((x >= (k - 0.5) * theta).astype(int) for k in range(1, levels + 1))


def check(x, neuron, mask=None, lengths=None):
    counts, theta = neuron.encode(x, mask)
    wide = x.double().numpy()
    wanted = reference_theta(wide, neuron.threshold, neuron.kappa, neuron.eps, neuron.value, lengths)
    full = theta.expand_as(x).double()
    np.testing.assert_allclose(full.numpy(), wanted, rtol=2**-8 * 1.001)  # half a step of eight bits
    assert torch.equal(theta, theta.bfloat16().to(theta.dtype))
    np.testing.assert_array_equal(
        counts.double().numpy(), reference_counts(wide, full.numpy(), neuron.levels)
    )
    y = neuron(x, mask)
    assert torch.equal(y, (counts.to(theta.dtype) * theta).to(x.dtype))
    assert y.shape == counts.shape == x.shape and y.dtype == counts.dtype == x.dtype


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9)),
    scale=st.sampled_from([1e-7, 1e-3, 1.0, 40.0, 1e4]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.float16]),
    threshold=st.sampled_from(THRESHOLDS),
    levels=st.sampled_from([1, 2, 6, 15]),
    kappa=st.sampled_from([0.05, 0.45, 1.0, 3.0]),
    eps=st.sampled_from([1e-5, 0.5]),
    value=st.sampled_from([0.013, 1.0, 7.7]),
)
def test_every_option_follows_the_formula(seed, shape, scale, dtype, threshold, levels, kappa, eps, value):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale
    x = x.clamp(-60000, 60000).to(dtype)
    with torch.no_grad():
        check(x, IMLS(levels, threshold, kappa, value, eps))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    threshold=st.sampled_from(THRESHOLDS),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_padding_stays_out_of_the_statistic(seed, lengths, threshold, dtype):
    lengths = [*lengths, 7]
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), 7, 5, generator=generator).to(dtype)
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    x[~mask] = 1e4  # anything at all
    neuron = IMLS(threshold=threshold)
    with torch.no_grad():
        check(x, neuron, mask, lengths)
        together, counts = neuron(x, mask), neuron.encode(x, mask)[0]
        for b, length in enumerate(lengths):
            alone = x[b : b + 1, :length]
            assert torch.equal(neuron(alone), together[b : b + 1, :length])
            assert torch.equal(neuron.encode(alone)[0], counts[b : b + 1, :length])


@pytest.mark.parametrize("threshold", ["channel", "layer"])
def test_the_amount_of_padding_moves_no_bit_of_a_long_utterance(threshold, monkeypatch):
    """Sums over time are in fp64; eight bits of a threshold would hide most of what fp32 does."""
    monkeypatch.setattr("imlspike.ops.eight_bits", lambda theta: theta)
    x, neuron = torch.randn(1, 5000, 8), IMLS(threshold=threshold)
    rows = x.abs() if threshold == "channel" else x.abs().mean(-1, keepdim=True)
    want = 0.45 * (rows.double().sum(1, keepdim=True) / 5000).float()
    for padding in (0, 1, 37, 1000):
        padded = torch.nn.functional.pad(x, (0, 0, 0, padding))
        mask = torch.arange(5000 + padding)[None] < 5000
        assert torch.equal(neuron.theta(padded, mask), want)


def test_all_padding_is_finite():
    x, mask = torch.randn(2, 4, 3), torch.tensor([[True] * 4, [False] * 4])
    for threshold in ADAPTIVE:
        assert IMLS(threshold=threshold)(x, mask).isfinite().all()


def test_a_token_threshold_sees_its_own_token_only():
    x = torch.randn(3, 40, 160)
    neuron = IMLS()
    changed = x.clone()
    changed[1, 7] *= 1000
    differs = (neuron(changed) != neuron(x)).any(-1)
    assert differs.nonzero().tolist() == [[1, 7]]
    order = torch.randperm(40)
    assert torch.equal(neuron(x[:, order]), neuron(x)[:, order])
    assert torch.equal(torch.stack([neuron(t) for t in x[2]]), neuron(x)[2])


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_channels_may_lie_on_other_axes(threshold):
    """(B, C, N, F) as in convolutional subsampling: channels and frequencies are the channels of a token."""
    x = torch.randn(2, 3, 5, 4)
    mask = torch.arange(5) < torch.tensor([[3], [5]])
    moved = IMLS(threshold=threshold, token_dim=2, channel_dims=(1, 3))
    flat = x.transpose(1, 2).reshape(2, 5, 12)
    plain = IMLS(threshold=threshold)
    for m in (None, mask):
        y = plain(flat, m).reshape(2, 5, 3, 4).transpose(1, 2)
        if threshold == "channel":  # the order of the sum over tokens is the same: one value per channel
            assert moved.theta(x, m).shape == (2, 3, 1, 4)
        assert torch.equal(moved(x, m), y)


def test_statistics_that_the_specification_states():
    """kappa 0.45, Gaussian input: mean count 1.09, 2.5 % at the top level, relative MSE to ReLU 0.018."""
    x = torch.randn(4000, 512, generator=torch.Generator().manual_seed(0))
    neuron = IMLS(levels=6, kappa=0.45)
    counts, theta = neuron.encode(x)
    assert counts.mean().item() == pytest.approx(1.09, abs=0.01)
    assert (counts == 6).float().mean().item() == pytest.approx(0.025, abs=0.002)
    relu = x.relu()
    error = (neuron(x) - relu).square().sum() / relu.square().sum()
    assert error.item() == pytest.approx(0.018, abs=0.001)
    assert theta.mean().item() == pytest.approx(0.45 * math.sqrt(2 / math.pi), rel=0.005)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("levels", [1, 6])
def test_gradient_is_one_inside_the_gate_and_zero_outside(threshold, levels):
    x = (3 * torch.randn(2, 50, 30)).requires_grad_()
    neuron = IMLS(levels, threshold)
    theta = neuron.encode(x)[1]
    weights = torch.randn_like(x)
    neuron(x).backward(weights)
    gate = (x.detach() >= 0) & (x.detach() <= (levels + 0.5) * theta)
    assert torch.equal(x.grad, weights * gate) and 0.05 < gate.float().mean() < 0.6


def test_gradient_at_the_edges_of_the_gate():
    top = 6.5
    x = torch.tensor(
        [-1e-6, -0.0, 0.0, 1.0, top, math.nextafter(top, 10) + 1e-6, 1e30, -1e30], requires_grad=True
    )
    IMLS(threshold="fixed", value=1.0)(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0, 0, 0]


def straight_through(x, theta, levels):
    """theta * s with autograd's own derivative of clip and the identity in place of that of floor."""
    ratio = (x / theta).clamp(0, levels + 0.5)
    counts = torch.floor(x / theta + 0.5).clamp(0, levels)
    return theta * (ratio + (counts - ratio).detach())


@pytest.mark.parametrize("threshold", ADAPTIVE)
def test_attached_threshold_gets_its_gradient(threshold):
    x = (2 * torch.randn(2, 7, 6, dtype=torch.float64)).requires_grad_()
    weights = torch.randn_like(x)
    neuron = IMLS(threshold=threshold, detach=False)
    (got,) = torch.autograd.grad(neuron(x), x, weights)
    dims = {"token": (-1,), "channel": (-2,), "layer": (-2, -1)}[threshold]
    statistic = 0.45 * x.abs().mean(dims, keepdim=True)
    theta = statistic + (neuron.encode(x)[1] - statistic).detach()  # the rounded value, the slope of the mean
    (want,) = torch.autograd.grad(straight_through(x, theta, 6), x, weights)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    (detached,) = torch.autograd.grad(IMLS(threshold=threshold)(x), x, weights)
    assert not torch.allclose(got, detached)
    assert torch.equal(neuron(x), IMLS(threshold=threshold)(x))


def test_attached_threshold_at_its_least_gets_none():
    x = torch.full((1, 3, 4), 1e-9, requires_grad=True)
    IMLS(detach=False)(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))  # inside the gate, nothing through theta = eps


def test_learned_threshold_gets_its_gradient_and_learns():
    torch.manual_seed(0)
    x = torch.randn(20, 30).relu()
    neuron = IMLS(levels=4, threshold="learned", value=2.0)
    assert list(neuron.state_dict()) == ["log_value"]
    neuron(x).sum().backward()
    log_value = torch.tensor(math.log(2.0), requires_grad=True)
    straight_through(x, log_value.exp(), 4).sum().backward()
    torch.testing.assert_close(neuron.log_value.grad, log_value.grad, rtol=1e-4, atol=1e-4)
    optimiser = torch.optim.Adam(neuron.parameters(), lr=0.05)
    start = (neuron(x) - x).square().mean().item()
    for _ in range(60):
        optimiser.zero_grad()
        (neuron(x) - x).square().mean().backward()
        optimiser.step()
    assert (neuron(x) - x).square().mean().item() < 0.2 * start


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("levels", [1, 6])
def test_unit_amplitude_sends_the_counts(threshold, levels):
    """y = s, and dy/dx = 1/theta inside the gate, 0 outside; with and without gradient the same values."""
    x = (3 * torch.randn(2, 50, 30)).requires_grad_()
    neuron = IMLS(levels, threshold, value=0.7, amplitude="unit")
    counts, theta = neuron.encode(x)
    assert torch.equal(counts, IMLS(levels, threshold, value=0.7).encode(x)[0])
    y, weights = neuron(x), torch.randn_like(x)
    assert torch.equal(y, counts) and y.max() == levels
    y.backward(weights)
    gate = (x.detach() >= 0) & (x.detach() <= (levels + 0.5) * theta)
    torch.testing.assert_close(x.grad, weights * gate / theta, rtol=1e-6, atol=0)
    with torch.no_grad():
        assert torch.equal(neuron(x), y)


def unit_straight_through(x, theta, levels):
    """s with the derivative of x / theta inside the gate: towards theta, -x / theta^2."""
    ratio = x / theta
    gate = (ratio >= 0) & (ratio <= levels + 0.5)
    return torch.floor(ratio + 0.5).clamp(0, levels).detach() + (ratio - ratio.detach()) * gate


@pytest.mark.parametrize("threshold", ADAPTIVE)
def test_unit_amplitude_with_an_attached_threshold(threshold):
    x = (2 * torch.randn(2, 7, 6, dtype=torch.float64)).requires_grad_()
    weights = torch.randn_like(x)
    neuron = IMLS(threshold=threshold, detach=False, amplitude="unit")
    (got,) = torch.autograd.grad(neuron(x), x, weights)
    dims = {"token": (-1,), "channel": (-2,), "layer": (-2, -1)}[threshold]
    statistic = 0.45 * x.abs().mean(dims, keepdim=True)
    theta = statistic + (neuron.encode(x)[1] - statistic).detach()  # the rounded value, the slope of the mean
    (want,) = torch.autograd.grad(unit_straight_through(x, theta, 6), x, weights)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_unit_amplitude_with_a_learned_threshold():
    x = torch.randn(20, 30)
    neuron = IMLS(levels=4, threshold="learned", value=0.5, amplitude="unit")  # 0.5 is a bfloat16
    weights = torch.randn_like(x)
    neuron(x).backward(weights)
    gate = (x >= 0) & (x <= 4.5 * 0.5)
    want = (weights * gate * -x / 0.5**2).sum() * 0.5  # d theta / d log_value = theta
    torch.testing.assert_close(neuron.log_value.grad, want, rtol=1e-4, atol=1e-4)


def test_unit_amplitude_in_low_precision():
    for dtype in (torch.bfloat16, torch.float16):
        x = (3 * torch.randn(2, 9, 16)).to(dtype).requires_grad_()
        neuron = IMLS(amplitude="unit")
        y = neuron(x)
        y.sum().backward()
        assert y.dtype == x.grad.dtype == dtype and torch.equal(y, neuron.encode(x)[0])
        counts, theta = neuron.encode(x)
        gate = (x.detach() >= 0) & (x.detach().float() <= 6.5 * theta)
        torch.testing.assert_close(x.grad.float(), gate / theta, rtol=1e-2, atol=1e-6)


def test_unit_amplitude_forgets_the_level_of_a_token():
    x = torch.randn(3, 5, 64)
    neuron = IMLS(amplitude="unit")
    assert torch.equal(neuron(4 * x), neuron(x))  # by a power of two, which rounds like 1
    assert not torch.equal(IMLS()(4 * x), IMLS()(x))


def test_with_and_without_gradient_the_same_values():
    x = torch.randn(3, 9, 16)
    for threshold in THRESHOLDS:
        for detach in (True, False):
            neuron = IMLS(threshold=threshold, detach=detach)
            with torch.no_grad():
                wanted = neuron(x)
            assert torch.equal(neuron(x.clone().requires_grad_()), wanted)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_no_state_survives_a_forward(threshold):
    neuron = IMLS(threshold=threshold)
    before = copy.deepcopy(neuron.state_dict())
    attributes = set(vars(neuron))
    x = torch.randn(2, 5, 6)
    first = neuron(x)
    neuron(1000 * torch.rand(3, 8, 6))
    assert torch.equal(neuron(x), first) and not list(neuron.buffers()) and set(vars(neuron)) == attributes
    assert before.keys() == neuron.state_dict().keys() == ({"log_value"} if threshold == "learned" else set())
    for other in (copy.deepcopy(neuron), pickle.loads(pickle.dumps(neuron))):
        assert torch.equal(other(x), first)


def test_input_is_left_alone():
    for x in (torch.randn(2, 5, 6), torch.randn(2, 5, 6, requires_grad=True)):
        was = x.detach().clone()
        IMLS()(x), IMLS().encode(x)
        assert torch.equal(x, was)


@pytest.mark.gpu
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_gpu_agrees_with_cpu(threshold):
    x = torch.randn(3, 20, 64, dtype=torch.float64)
    mask = torch.arange(20) < torch.tensor([[20], [7], [1]])
    neuron = IMLS(threshold=threshold)
    wanted = neuron(x, mask)
    got = neuron.cuda()(x.cuda(), mask.cuda())
    assert got.is_cuda
    torch.testing.assert_close(got.cpu(), wanted)


def test_nan_is_not_swallowed():
    x = torch.ones(2, 3, 4)
    x[0, 1, 2] = math.nan
    for threshold in THRESHOLDS:
        assert IMLS(threshold=threshold)(x)[0, 1, 2].isnan()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": "tokens"}, "tokens"),
        ({"levels": 0}, "levels"),
        ({"levels": 2.5}, "levels"),
        ({"levels": math.inf}, "levels"),
        ({"levels": 2**15}, "levels"),  # beyond it a multiple of the threshold is rounded
        ({"levels": "6"}, "levels"),
        ({"kappa": math.nan}, "kappa"),
        ({"value": math.inf}, "value"),
        ({"kappa": 0.0}, "kappa"),
        ({"value": -1.0}, "value"),
        ({"eps": 0.0}, "eps"),
        ({"amplitude": "one"}, "one"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        IMLS(**options)


@pytest.mark.parametrize("amplitude", ["theta", "unit"])
def test_finer_steps_are_a_neuron_of_more_levels_and_vanish_in_evaluation(amplitude):
    x, conf = torch.randn(50, 4), dict(threshold="fixed", value=0.36, amplitude=amplitude)
    neuron, plain, many = IMLS(6, **conf), IMLS(6, **conf), IMLS(48, **conf | {"value": 0.36 / 8})
    neuron.finer = 8
    fine = many(x) / (8 if amplitude == "unit" else 1)
    torch.testing.assert_close(neuron(x), fine, rtol=2**-7, atol=0)  # theta is rounded to eight bits
    near = neuron(x) / (1 if amplitude == "theta" else 1 / neuron.theta(x))
    assert (near - x.clamp(min=0).clamp(max=6 * 0.36)).abs().max() < 0.36 / 8
    assert torch.equal(neuron.eval()(x), plain(x))


@pytest.mark.parametrize(("amplitude", "slope"), [("theta", 2.0), ("unit", 0.0)])
@pytest.mark.parametrize("x", [2.3, 2.6])
def test_above_the_narrow_window_a_trained_threshold_scales_the_highest_level(amplitude, slope, x):
    """Both within the half step that the wide window has beyond it, and further up."""
    neuron = IMLS(2, "learned", value=1.0, window="levels", amplitude=amplitude)
    x = torch.tensor([x], requires_grad=True)
    neuron(x).backward()
    assert x.grad.item() == 0 and neuron.log_value.grad.item() == pytest.approx(slope)


def test_the_narrow_window_shuts_the_gradient_above_the_highest_level():
    x = torch.tensor([-0.1, 0.5, 5.9, 6.2, 6.6], requires_grad=True)
    for window, want in (("half", [0, 1, 1, 1, 0]), ("levels", [0, 1, 1, 0, 0])):
        x.grad = None
        y = IMLS(6, "fixed", window=window)(x)
        y.sum().backward()
        assert x.grad.tolist() == want and y.tolist() == [0, 1, 6, 6, 6]
    with pytest.raises(ValueError, match="window"):
        IMLS(window="wide")
