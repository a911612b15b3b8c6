"""LIF and PLIF: hand-computed trajectories, step = multi-step = equations, gradients, state, arguments."""

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.neurons import LIF, PLIF

# input current, options, spikes, last potential: worked out with pencil and paper
TRAJECTORIES = {
    # H = .5, .5+.5(1.5-.5)=1 fires at equality -> 0, .5, .5+.5(4-.5)=2.25 fires -> 0
    "hard": ([1, 1.5, 1, 4], {}, [0, 1, 0, 1], 0.0),
    # H = .5, 1 -> 0, .5, 2.25 -> 1.25
    "soft": ([1, 1.5, 1, 4], {"reset": "soft"}, [0, 1, 0, 1], 1.25),
    # H = 2 -> 1, .5+.5(0)=.5+0: 1-.5*1=.5, .25
    "soft leaks what is left": ([4, 0, 0], {"reset": "soft"}, [1, 0, 0], 0.25),
    # H = .5, .25+.75=1 -> 0, .75, .375
    "input not decayed": ([0.5, 0.75, 0.75, 0], {"decay_input": False}, [0, 1, 0, 0], 0.375),
    # tau 4: H = 1.5 -> .5, .5+.25(.5-.5)=.5, .5+.25(2.5-.5)=1 -> 0
    "tau 4, soft": ([6, 0.5, 2.5], {"tau": 4.0, "reset": "soft"}, [1, 0, 1], 0.0),
    # v0 = -1: H = -1+.5(2-0)=0, 0+.5(2-1)=.5 fires -> -1, -1+.5(0)=-1
    "rest below zero": ([2, 2, 0], {"v_reset": -1.0, "threshold": 0.5}, [0, 1, 0], -1.0),
    # tau 1 forgets: H = X
    "no memory": ([0.75, 0.75, 1.0, 0.25], {"tau": 1.0}, [0, 0, 1, 0], 0.25),
    # no leak: H = .5, 1 -> 0, .5, 1 -> 0
    "integrate and fire": ([0.5] * 4, {"tau": math.inf, "decay_input": False}, [0, 1, 0, 1], 0.0),
    # H = -2, -1, 0: negative input is remembered
    "negative": ([-4, 0, 1], {}, [0, 0, 0], 0.0),
}


@pytest.mark.parametrize("case", TRAJECTORIES)
def test_trajectories_worked_out_by_hand(case):
    currents, options, spikes, last = TRAJECTORIES[case]
    neurons = [LIF(**options)]
    if 1 < options.get("tau", 2) < math.inf:
        neurons.append(PLIF(**options))
    for neuron in neurons:
        x = torch.tensor(currents, dtype=torch.float32)[:, None]
        got, v = neuron.run(x)
        assert got.flatten().tolist() == spikes and v.item() == last
        v, got = None, []
        for current in x:
            s, v = neuron.step(current, v)
            got.append(s.item())
        assert got == spikes and v.item() == last


def equations(x, v, tau, threshold, v_reset, decay_input, detach_reset, heaviside):
    """Equations 1 to 3 of Spiking Vocos letter by letter, differentiated by autograd."""
    out = []
    rest = 0.0 if v_reset is None else v_reset
    for current in x:
        if decay_input:
            h = v + (current - (v - rest)) / tau
        else:
            h = v - (v - rest) / tau + current
        s = heaviside(h - threshold)
        r = s.detach() if detach_reset else s
        v = h - threshold * r if v_reset is None else v_reset * r + h * (1 - r)
        out.append(s)
    return torch.stack(out), v


def sigmoid_step(alpha):
    """A Heaviside step with the gradient of sigmoid(alpha x), by the detach trick."""

    def step(x):
        soft = torch.sigmoid(alpha * x)
        return soft + ((x >= 0).to(x) - soft).detach()

    return step


OPTIONS = list(itertools.product(["hard", "soft"], [0.0, -0.3], [True, False], [True, False]))
OPTIONS = [o for o in OPTIONS if not (o[0] == "soft" and o[1])]


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize(("reset", "v_reset", "decay_input", "detach_reset"), OPTIONS)
def test_values_and_gradients_are_those_of_the_equations(reset, v_reset, decay_input, detach_reset, steps):
    torch.manual_seed(steps)
    neuron = PLIF(3.0, 0.8, reset, v_reset, decay_input, detach_reset).double()
    with torch.no_grad():
        neuron.w.add_(0.37)
    x = (2 * torch.randn(steps, 5, 11, dtype=torch.float64)).requires_grad_()
    v = torch.randn(5, 11, dtype=torch.float64, requires_grad=True)
    weights, last_weights = torch.randn_like(x), torch.randn_like(v)
    leaves = [x, v, neuron.w]

    def gradients(run):
        spikes, last = run()
        loss = (spikes * weights).sum() + (last * last_weights).sum()
        return spikes.detach(), last.detach(), *torch.autograd.grad(loss, leaves)

    def stepwise():
        state, out = v, []
        for current in x:
            s, state = neuron.step(current, state)
            out.append(s)
        return torch.stack(out), state

    target = None if reset == "soft" else v_reset
    wanted = gradients(
        lambda: equations(
            x, v, 1 / torch.sigmoid(neuron.w), 0.8, target, decay_input, detach_reset, sigmoid_step(4.0)
        )
    )
    assert 0 < wanted[0].mean() < 1
    for run in (lambda: neuron.run(x, v), stepwise):
        for got, want in zip(gradients(run), wanted, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    steps=st.integers(1, 6),
    reset=st.sampled_from(["hard", "soft"]),
    decay_input=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    tau=st.floats(1.0, 100.0),
)
def test_one_piece_or_any_pieces_the_same(data, steps, reset, decay_input, dtype, tau):
    seed = data.draw(st.integers(0, 2**31))
    cut = data.draw(st.integers(0, steps))
    x = (3 * torch.randn(steps, 3, 5, generator=torch.Generator().manual_seed(seed))).to(dtype)
    neuron = LIF(tau, reset=reset, decay_input=decay_input)
    whole, last = neuron.run(x)
    head, state = neuron.run(x[:cut])
    tail, end = neuron.run(x[cut:], state)
    assert torch.equal(torch.cat([head, tail]), whole) and torch.equal(end, last)
    assert whole.dtype == dtype and whole.shape == x.shape
    assert last.dtype == (dtype if dtype == torch.float64 else torch.float32)
    state, stepped = None, []
    for current in x:
        s, state = neuron.step(current, state)
        stepped.append(s)
    assert torch.equal(torch.stack(stepped), whole) and torch.equal(state, last)
    assert set(whole.unique().tolist()) <= {0.0, 1.0}
    needs_grad, v = neuron.run(x.clone().requires_grad_())
    assert torch.equal(needs_grad, whole) and torch.equal(v, last)


@pytest.mark.parametrize("cls", [LIF, PLIF])
def test_no_state_survives_a_forward(cls):
    neuron = cls()
    before = {name: value.clone() for name, value in neuron.state_dict().items()}
    attributes = set(vars(neuron))
    x = 3 * torch.randn(4, 2, 8)
    first = neuron(x)
    neuron(100 * torch.rand(7, 5))
    neuron.run(x, torch.full((2, 8), 50.0))
    neuron.step(x[0])
    assert torch.equal(neuron(x), first)
    assert list(neuron.buffers()) == [] and set(vars(neuron)) == attributes
    assert neuron.state_dict().keys() == before.keys() == ({"w"} if cls is PLIF else set())
    assert all(torch.equal(value, before[name]) for name, value in neuron.state_dict().items())


def test_the_callers_tensors_are_left_alone():
    for x in (torch.randn(4, 6), torch.randn(4, 6, requires_grad=True)):
        v, x_was = torch.randn(6), x.detach().clone()
        v_was, weights = v.clone(), torch.randn(4, 6)
        weights_were = weights.clone()
        spikes, _ = PLIF().run(x, v)
        spikes.backward(weights)
        assert torch.equal(x, x_was) and torch.equal(v, v_was) and torch.equal(weights, weights_were)


def test_views_and_strided_inputs():
    x = torch.randn(6, 7, 4).transpose(0, 2)
    strided = x.clone(memory_format=torch.preserve_format).requires_grad_()
    packed = x.contiguous().requires_grad_()
    a, b = LIF()(strided), LIF()(packed)
    assert torch.equal(a, b)
    a.sum().backward(), b.sum().backward()
    torch.testing.assert_close(strided.grad, packed.grad)
    spread = torch.randn(1, 9).expand(4, 9)  # one embedding repeated T times, without copying it
    assert torch.equal(LIF()(spread), LIF()(spread.contiguous()))


def test_only_the_input_is_kept_for_the_backward_pass():
    x, kept = torch.randn(4, 50, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        PLIF()(x)
    assert sum(kept) <= x.numel() + 50 + 2


def test_plif_starts_as_lif_and_learns_tau():
    torch.manual_seed(0)
    x = 2 * torch.randn(8, 200)
    neuron = PLIF(tau=5.0, alpha=2.0)
    assert neuron.tau == pytest.approx(5.0, rel=1e-6)
    assert (neuron(x) != LIF(tau=5.0)(x)).float().mean() < 1e-3
    optimiser = torch.optim.Adam(neuron.parameters(), lr=0.05)
    for _ in range(60):  # a lower tau lets more of the input through: ask for a higher rate
        loss = (neuron(x).mean() - 0.25).square()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert 1 < neuron.tau < 4.0 and loss < 1e-3
    with torch.no_grad():
        neuron.w.fill_(80.0)
    assert neuron.tau == 1.0 and neuron(x).isfinite().all()


def test_autocast_keeps_the_dtype_of_the_input():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = torch.nn.functional.linear(torch.randn(4, 3, 8), torch.randn(8, 8, requires_grad=True))
        spikes = PLIF()(x)
        assert spikes.dtype == x.dtype == torch.bfloat16
        spikes.float().sum().backward()


def test_half_precision_module_follows_the_input():
    neuron = PLIF().bfloat16()
    x = torch.randn(4, 9, dtype=torch.bfloat16, requires_grad=True)
    neuron(x).sum().backward()
    assert x.grad.dtype == neuron.w.grad.dtype == torch.bfloat16 and neuron.w.grad.isfinite()


@pytest.mark.gpu
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_gpu_agrees_with_cpu(reset):
    torch.manual_seed(0)
    neuron = PLIF(reset=reset).double()
    x = torch.randn(6, 300, dtype=torch.float64, requires_grad=True)
    results = []
    for device in ("cpu", "cuda"):
        moved, y = copy.deepcopy(neuron).to(device), x.detach().to(device).requires_grad_()
        spikes, v = moved.run(y)
        assert spikes.device == v.device == y.device
        (spikes.sum() + v.sum()).backward()
        results.append([t.detach().cpu() for t in (spikes, v, y.grad, moved.w.grad)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_empty_tensors():
    assert LIF()(torch.zeros(4, 0, 3)).shape == (4, 0, 3)
    neuron = PLIF()
    neuron(torch.zeros(4, 0, 3)).sum().backward()
    assert neuron.w.grad == 0
    spikes, v = LIF(v_reset=-0.5).run(torch.zeros(0, 3))
    assert spikes.shape == (0, 3) and v.tolist() == [-0.5] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": 0.5}, "tau"),
        ({"tau": math.nan}, "tau"),
        ({"tau": math.inf}, "tau"),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 1.0, "v_reset": 1.0}, "threshold"),
        ({"threshold": math.inf}, "threshold"),
        ({"v_reset": -math.inf}, "v_reset"),
        ({"reset": "zero"}, "zero"),
        ({"reset": "soft", "v_reset": -1.0}, "v_reset=-1.0"),
        ({"surrogate": "tringle"}, "'triangle'"),
    ],
)
def test_bad_arguments_are_named(options, message):
    for cls in (LIF, PLIF):
        with pytest.raises(ValueError, match=message):
            cls(**options)


def test_plif_cannot_start_at_the_ends_of_its_range():
    for tau in (1.0, math.inf):
        with pytest.raises(ValueError, match="learnable tau"):
            PLIF(tau=tau, decay_input=False)


@pytest.mark.parametrize(
    ("x", "v"),
    [
        (torch.tensor(1.0), None),
        (torch.ones(4, 3, dtype=torch.long), None),
        (torch.randn(4, 3), torch.zeros(1)),
        (torch.randn(4, 3), torch.zeros(4, 3)),
        (torch.randn(4, 3), torch.zeros(3, dtype=torch.float64)),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x, v):
    with pytest.raises(ValueError, match="currents|int64|state"):
        LIF().run(x, v)
