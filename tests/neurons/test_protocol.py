"""What layers, counters and exporters ask of every registered neuron; the registry; rate coding; ReLU."""

import copy
import pickle

import pytest
import torch

from imlspike.neurons import IMLS, LIF, NEURONS, PLIF, Neuron, RateCoded, ReLU, register, spike, unfold
from imlspike.neurons.imls import THRESHOLDS

FORMS = {
    **{name: cls for name, cls in NEURONS.items() if cls.levels is not None},
    **{
        f"imls, {threshold}": lambda threshold=threshold: IMLS(threshold=threshold)
        for threshold in THRESHOLDS
    },
    "imls, unit": lambda: IMLS(amplitude="unit"),
    "imls, binary": lambda: IMLS(levels=1, amplitude="unit"),
    "lif, soft": lambda: LIF(reset="soft", v_reset=0.0, surrogate="atan"),
    "rate-coded": lambda: RateCoded(PLIF(), 4),
}
X = 2 * torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", FORMS)
def test_what_flows_on_is_counts_times_their_worth(name, dtype):
    neuron, x = FORMS[name](), X.clone().requires_grad_().to(dtype)
    y, (counts, worth) = neuron(x), neuron.encode(x)
    assert not counts.requires_grad and not worth.requires_grad
    assert y.shape == counts.shape == x.shape and y.dtype == counts.dtype == dtype
    assert torch.equal(counts, counts.round()) and 0 <= counts.min() and 0 < counts.max() <= neuron.levels
    assert torch.equal(y, counts if neuron.unit else (counts.to(worth.dtype) * worth).to(dtype))
    assert neuron.binary == (neuron.levels == 1) == set(counts.unique().tolist()).issubset({0.0, 1.0})


@pytest.mark.parametrize("name", FORMS)
def test_a_gradient_comes_back(name):
    x = X.clone().requires_grad_()
    FORMS[name]()(x).sum().backward()
    assert x.grad.isfinite().all() and x.grad.count_nonzero() > 0


@pytest.mark.parametrize("name", [*FORMS, "relu"])
def test_copies_keep_no_state_and_say_the_same(name):
    neuron = {**FORMS, "relu": ReLU}[name]()
    y = neuron(X)
    assert not list(neuron.buffers()) and neuron.state_dict().keys() == dict(neuron.named_parameters()).keys()
    for other in (copy.deepcopy(neuron), pickle.loads(pickle.dumps(neuron))):
        assert torch.equal(other(X), y) and repr(other) == repr(neuron)
        assert (other.levels, other.stateful, other.unit) == (neuron.levels, neuron.stateful, neuron.unit)
    other = copy.deepcopy(neuron)
    other.load_state_dict(neuron.state_dict())
    assert torch.equal(other(X), y)


def test_kinds():
    assert {name: (cls.levels, cls.stateful) for name, cls in NEURONS.items()} == {
        "imls": (1, False),
        "lif": (1, True),
        "plif": (1, True),
        "relu": (None, False),
    }
    assert IMLS().levels == 6 and not IMLS().unit and IMLS(amplitude="unit").unit
    over = {threshold: IMLS(threshold=threshold).over_utterance for threshold in THRESHOLDS}
    assert over == {"token": False, "channel": True, "layer": True, "fixed": False, "learned": False}
    assert [each for each in THRESHOLDS if IMLS(threshold=each).from_means] == ["layer"]


def test_a_name_is_given_once():
    @register("quiet")
    class Quiet(Neuron):
        pass

    try:
        assert register("quiet")(Quiet) is NEURONS["quiet"] is Quiet
        with pytest.raises(ValueError, match="quiet"):
            register("quiet")(LIF)
        with pytest.raises(ValueError, match="lif"):
            register("lif")(Quiet)
        with pytest.raises(NotImplementedError):
            Quiet()(X)
    finally:
        del NEURONS["quiet"]
    assert NEURONS["lif"] is LIF


def test_a_neuron_of_one_file_fires_counts_and_learns():
    """An adaptive neuron, whose threshold rises with its spikes, of nothing but the protocol and `spike`."""

    class Adaptive(Neuron):
        stateful = True

        def forward(self, x, mask=None):
            u, rise, spikes = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
            for current in x:
                u = 0.5 * u + current
                spikes.append(spike(u - 1 - rise, "triangle"))
                u, rise = u * (1 - spikes[-1]), 0.8 * rise + 0.5 * spikes[-1]
            return torch.stack(spikes)

    neuron, x = Adaptive(), (X.abs() + 1).expand(6, *X.shape).clone().requires_grad_()
    counts, worth = neuron.encode(x)
    assert neuron.binary and worth == 1 and counts[0].sum() > counts[-1].sum() > 0
    neuron(x).sum().backward()
    compiled, y = torch.compile(neuron, fullgraph=True, backend="aot_eager"), x.detach().requires_grad_()
    compiled(y).sum().backward()
    assert torch.equal(x.grad, y.grad) and x.grad.count_nonzero() > 0


@pytest.mark.parametrize("cls", [LIF, PLIF])
def test_a_step_compiles_with_its_gradient(cls):
    neuron, x = cls(), X.clone().requires_grad_()
    y = X.clone().requires_grad_()
    for run, leaf in ((neuron.step, x), (torch.compile(neuron.step, fullgraph=True, backend="aot_eager"), y)):
        spikes, state = run(leaf)
        (spikes.sum() + state.square().sum()).backward()
    torch.testing.assert_close(x.grad, y.grad)
    assert x.grad.count_nonzero() > 0


@pytest.mark.parametrize("neuron", [LIF(), PLIF(4.0, reset="soft"), LIF(v_reset=-0.5, decay_input=False)])
def test_rate_coding_is_the_sum_of_its_steps(neuron):
    """In fp64: a state that is handed over is rounded where that of one call isn't."""
    neuron = copy.deepcopy(neuron).double()
    x, y = X.double().requires_grad_(), X.double().requires_grad_()
    coded, state, total = RateCoded(neuron, 5)(x), None, 0
    for _ in range(5):
        s, state = neuron.step(y, state)
        total = total + s
    assert torch.equal(coded, total) and RateCoded(neuron, 5).levels == 5
    coded.square().sum().backward()
    total.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_integrate_and_fire_over_steps_is_imls_with_a_fixed_threshold():
    """T steps of x / T with soft reset, from half a threshold: the counts of one pass; dyadic, so exactly."""
    x = torch.randint(-64, 640, (50, 40)) / 64
    fire = LIF(tau=float("inf"), threshold=1.0, reset="soft", decay_input=False)
    spikes, state = fire.run((x / 8).expand(8, *x.shape), torch.full_like(x, 0.5))
    counts, theta = IMLS(levels=8, threshold="fixed").encode(x)
    assert torch.equal(spikes.sum(0), counts) and torch.equal(unfold(x, theta, 8).sum(0), counts)
    inside = (x >= 0) & (x < 8.5)
    assert (state[inside] - 0.5).abs().max() <= 0.5 and counts.max() == 8
    full = RateCoded(fire, 8)(x / 8)  # from rest it rounds down
    assert torch.equal(full, x.floor().clamp(0, 8))


def test_relu_is_its_own_twin():
    x = X.clone().requires_grad_()
    y = ReLU()(x)
    y.sum().backward()
    assert torch.equal(y, x.clamp(min=0)) and torch.equal(x.grad, (x > 0).float()) and not ReLU().binary
    with pytest.raises(TypeError, match="relu"):
        ReLU().encode(X)


def test_costs_of_a_chip():
    counts, worth = torch.tensor([[0.0, 2.0], [1.0, 3.0]]), torch.ones(2, 1)
    fired = 3 * 4 + 3
    lif = {"additions": fired, "bitwise_additions": fired, "multiplications": 4, "state": 8, "neurons": 2}
    assert LIF().cost(counts > 0, worth) == lif
    imls = {"additions": 7 * 4 + 6, "bitwise_additions": 4 * 4 + 4, "multiplications": 0, "neurons": 4}
    assert IMLS(threshold="fixed").cost(counts, worth) == imls
    input_aware = {"additions": 7 * 4 + 6 + 4, "bitwise_additions": 4 * 4 + 4 + 4, "multiplications": 2}
    assert IMLS().cost(counts, worth) == imls | input_aware
    in_steps = {"multiplications": 16, "state": 32, "neurons": 4}
    added = dict.fromkeys(("additions", "bitwise_additions"), 3 * 16 + 6)
    assert RateCoded(LIF(), 4).cost(counts, worth) == in_steps | added
    relu = {"additions": 4, "bitwise_additions": 4, "multiplications": 0, "neurons": 4}
    assert ReLU().cost(torch.zeros(4), worth) == relu


def test_neurons_for_steps_and_for_maps():
    assert LIF.for_steps(4, tau=3.0).tau == 3.0 and LIF.for_maps(4).levels == 1
    assert IMLS.for_steps(4).levels == 4 and IMLS.for_steps(4, levels=2).levels == 2
    maps = IMLS.for_maps(4, kappa=0.5)
    assert (maps.threshold, maps.levels) == ("layer", 4) and IMLS.for_maps(
        4, threshold="fixed"
    ).threshold == "fixed"
    assert maps.theta(torch.randn(2, 7, 5, 3)).shape == (2, 1, 1, 1)
