"""The operators under torch's compilers, exporters and second derivatives; and on any processor."""

import itertools
import os
import subprocess
import sys
from unittest import mock

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from imlspike import ops
from imlspike.neurons import IMLS, LIF, PLIF
from imlspike.neurons.imls import AMPLITUDES, THRESHOLDS
from imlspike.ops import reference
from imlspike.ops.reference import wide, widen
from tests.ops import agreement, numerics

OPERATORS = torch.ops.imlspike
NEURONS = {
    "imls": lambda: IMLS(detach=False),
    "imls, learned, unit": lambda: IMLS(threshold="learned", amplitude="unit"),
    "imls, layer": lambda: IMLS(threshold="layer"),
    "lif": lambda: LIF(reset="soft"),
    "plif": lambda: PLIF(decay_input=False, v_reset=-0.5),
}


def inputs(name, dtype):
    """Arguments of an operator."""
    x, gate = torch.randn(3, 5, 8).to(dtype), torch.rand(3, 5, 8) < 0.5
    theta = ops.eight_bits(torch.rand(3, 5, 1, dtype=wide(x)) + 0.1)
    leak = torch.tensor(0.4, dtype=wide(x))
    settings = (leak, 1.0, True, False, True, "atan", 2.0)
    return {
        "eight_bits": (theta,),
        "imls": (x, theta, 6, True),
        "imls_backward": (x, gate, theta, False),
        "lif": (x, widen(x[0]).clone(), *settings),
        "lif_backward": (x, widen(x[0]).clone(), x + 1, widen(x[1]).clone(), *settings),
    }[name]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["eight_bits", "imls", "imls_backward", "lif", "lif_backward"])
def test_opcheck(name, dtype):
    """Signature, fake results, gradients as registered, and tracing with static and dynamic shapes."""
    # In a fork: it may start autograd's threads, after which no fork of this process could train anything.
    process = torch.multiprocessing.get_context("fork").Process(target=check, args=(name, dtype))
    process.start()
    process.join()
    assert process.exitcode == 0


def check(name, dtype):
    torch.set_num_threads(1)
    operator = getattr(OPERATORS, name).default
    torch.library.opcheck(operator, inputs(name, dtype))
    leaves = [  # gradients of gradients: those of imls are there, those of lif are refused
        each.requires_grad_() if isinstance(each, torch.Tensor) and each.is_floating_point() else each
        for each in inputs(name, dtype)
    ]
    if not name.endswith("backward"):
        torch.library.opcheck(operator, leaves)


def outputs_and_gradients(run, neuron, x, weights):
    x = x.clone().requires_grad_()
    leaves = [x, *neuron.parameters()]
    y = run(x)
    return y.detach(), torch.autograd.grad((y * weights).sum(), leaves)


def same_compiled(neuron, backend):
    torch._dynamo.reset()
    x, weights = 2 * torch.randn(2, 4, 9, 16)
    compiled = torch.compile(neuron, fullgraph=True, backend=backend)
    y, grads = outputs_and_gradients(neuron, neuron, x, weights)
    got, got_grads = outputs_and_gradients(compiled, neuron, x, weights)
    assert torch.equal(got, y) and y.count_nonzero() > 0
    for mine, want in zip(got_grads, grads, strict=True):
        assert want.count_nonzero() > 0
        torch.testing.assert_close(mine, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("threshold", "amplitude", "detach"), itertools.product(THRESHOLDS, AMPLITUDES, (True, False))
)
def test_imls_compiles_as_one_graph(threshold, amplitude, detach):
    same_compiled(IMLS(threshold=threshold, amplitude=amplitude, detach=detach), "aot_eager")


@pytest.mark.parametrize("cls", [LIF, PLIF])
@pytest.mark.parametrize("options", [{}, {"reset": "soft", "decay_input": False, "detach_reset": True}])
def test_lif_compiles_as_one_graph(cls, options):
    same_compiled(cls(**options), "aot_eager")


@pytest.mark.parametrize("name", ["imls", "lif", "plif"])
def test_inductor_keeps_spikes_and_gradients(name):
    """Also what it could optimize away: the rounding of the threshold to eight bits."""
    same_compiled(NEURONS[name](), "inductor")


@pytest.mark.parametrize("name", NEURONS)
def test_fake_tensors_and_traced_graphs(name):
    neuron, x = NEURONS[name](), torch.randn(4, 9, 16)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        y = neuron(mode.from_tensor(x))
        assert y.shape == x.shape and y.dtype == x.dtype
    traced = make_fx(lambda x: neuron(x), tracing_mode="symbolic", _allow_non_fake_inputs=True)(x)
    other = torch.randn(4, 7, 3)
    assert torch.equal(traced(other), neuron(other))
    with torch.device("meta"):  # a default device moves no result away from its input
        assert torch.equal(neuron(x), neuron(x.clone())) and neuron(x).device == x.device


@pytest.mark.parametrize("name", NEURONS)
def test_an_exported_program_takes_any_length(name):
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), NEURONS[name](), torch.nn.Linear(8, 3)).eval()
    length = torch.export.Dim("length", min=2, max=4096)
    program = torch.export.export(model, (torch.randn(2, 9, 8),), dynamic_shapes=({1: length},))
    x = torch.randn(2, 33, 8)
    torch.testing.assert_close(program.module()(x), model(x))
    assert any("imlspike" in str(node.target) for node in program.graph.nodes)


def straight_through(x, theta, levels, scaled):
    """IMLS in plain torch: x / theta has a derivative inside the gate, the floor is the identity."""
    ratio = x / theta
    inside = torch.where((ratio >= 0) & (ratio <= levels + 0.5), ratio, 0)
    s = torch.floor(ratio + 0.5).clamp(0, levels).detach() + (inside - inside.detach())
    return theta * s if scaled else s


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("of_theta", [(4, 1), (1, 6), ()])
def test_second_order_gradients_of_imls(scaled, of_theta):
    x = 2 * torch.randn(4, 6, dtype=torch.float64)
    theta = ops.eight_bits(torch.rand(of_theta, dtype=torch.float64) + 0.3)
    weights, more, last = torch.randn(3, 4, 6, dtype=torch.float64)
    found = []
    for form in (lambda *a: OPERATORS.imls(*a)[0], straight_through):
        leaves = [each.clone().requires_grad_() for each in (x, theta, weights)]
        y = (form(*leaves[:2], 6, scaled) * leaves[2]).sum()
        first = torch.autograd.grad(y, leaves, create_graph=True)
        penalty = (first[0] * more).square().sum() + (first[1] ** 3).sum() + (first[2] * last).square().sum()
        second = torch.autograd.grad(penalty, leaves)
        found.append((*first, *second))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("cls", [LIF, PLIF])
def test_second_order_gradients_of_lif_are_refused_and_those_of_its_step_are_there(cls):
    neuron, x = cls(), torch.randn(3, 5, requires_grad=True)
    (first,) = torch.autograd.grad(neuron(x).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="step"):
        first.sum().backward()
    (first,) = torch.autograd.grad(neuron.step(x)[0].sum(), x, create_graph=True)
    first.sum().backward()
    assert x.grad.count_nonzero() > 0


@pytest.mark.parametrize("neuron", [IMLS(), IMLS(threshold="fixed"), LIF(), PLIF()])
@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.float8_e4m3fn, torch.bool])
def test_other_dtypes_are_refused_with_kernels_and_without(neuron, dtype):
    x = torch.ones(4, 3).to(dtype)
    with pytest.raises(ValueError, match=str(dtype)):
        neuron(x)
    if not neuron.stateful:
        with pytest.raises(ValueError, match=str(dtype)):
            neuron(torch.ones(4, 3), theta=torch.ones(()).to(dtype))


def test_tensors_of_two_devices_are_refused():
    with pytest.raises(ValueError, match="meta"):
        LIF().run(torch.ones(4, 3), torch.zeros(3, device="meta"))
    with pytest.raises(ValueError, match="meta"):
        IMLS()(torch.ones(4, 3), theta=torch.ones((), device="meta"))


@pytest.mark.parametrize("form", [ops.imls, reference.imls])
def test_thresholds_broadcast_to_the_input_only(form):
    with pytest.raises(RuntimeError):
        form(torch.ones(6), torch.ones(4, 1), 6, True)


@pytest.mark.parametrize("neuron", [IMLS(), LIF(), PLIF()])
def test_forward_mode_derivatives_are_refused(neuron):
    """They would be zero: torch.library has no rule for them."""
    x = torch.randn(4, 3)
    with pytest.raises(NotImplementedError, match="jvp"):
        torch.func.jvp(neuron, (x,), (torch.ones_like(x),))
    with forward_ad.dual_level():
        with pytest.raises(NotImplementedError, match="jvp"):
            neuron(forward_ad.make_dual(x, torch.ones_like(x)))
        assert torch.equal(neuron(x), neuron(x.clone()))  # what is not differentiated passes


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", NEURONS)
def test_the_default_dtype_is_of_no_consequence(name, dtype):
    neuron, x, weights = NEURONS[name](), *(2 * torch.randn(2, 4, 9, 16))
    want = outputs_and_gradients(neuron, neuron, x, weights)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        got = outputs_and_gradients(neuron, neuron, x, weights)
    finally:
        torch.set_default_dtype(before)
    assert got[0].dtype == x.dtype and torch.equal(got[0], want[0])
    assert all(torch.equal(*pair) for pair in zip(got[1], want[1], strict=True))


@pytest.mark.skipif(not ops.COMPILED, reason="the CPU kernels were not compiled")
def test_neither_the_processor_nor_its_threads_nor_the_compiled_loops_change_a_spike(tmp_path, repository):
    x = torch.randn(6, 9000) * 2
    theta, leak = ops.eight_bits(torch.rand(6, 1) + 0.1), torch.tensor(0.37)
    given = (x, theta, torch.randn(9000), torch.randn(6, 9000), leak)
    torch.save(given, tmp_path / "inputs")
    want = numerics.results(given)
    cases = [({"ATEN_CPU_CAPABILITY": "default"},), ({"ATEN_CPU_CAPABILITY": "avx2"},)]
    cases += [({"OMP_NUM_THREADS": "3"},), ({}, "uncompiled")]
    for settings, *options in cases:
        environment = {**os.environ, **settings, "PYTHONPATH": str(repository)}
        command = [sys.executable, numerics.__file__, tmp_path / "inputs", tmp_path / "results", *options]
        subprocess.run(command, env=environment, check=True, timeout=120)
        for got, wanted in zip(torch.load(tmp_path / "results"), want, strict=True):
            assert torch.equal(got[0], wanted[0]), (settings, options)
            agreement.close(got[1:], wanted[1:])
            if "OMP_NUM_THREADS" in settings:
                assert all(torch.equal(*pair) for pair in zip(got[1:], wanted[1:], strict=True))


def test_a_library_of_another_torch_is_named_and_left_out(tmp_path):
    from imlspike.ops import operators

    (tmp_path / "_C.so").write_bytes(b"no library")
    with mock.patch.object(operators, "__file__", str(tmp_path / "operators.py")):
        with pytest.warns(UserWarning, match="_C.so"):
            assert operators._load_extension() is False
        (tmp_path / "_C.so").unlink()
        assert operators._load_extension() is False


X, U, LEAK = torch.ones(2, 8), torch.zeros(8), torch.tensor(0.5)
LIF_SETTINGS = (1.0, True, False, False, "sigmoid", 4.0)
UNFIT = {
    "threshold that doesn't broadcast": lambda op: op.imls(X, torch.ones(3), 6, True),
    "threshold of whole numbers": lambda op: op.imls(X, torch.ones((), dtype=torch.long), 6, True),
    "levels below zero": lambda op: op.imls(X, torch.tensor(1.0), -1, True),
    "gate of another size": lambda op: op.imls_backward(X, torch.ones(1, dtype=torch.bool), LEAK, True),
    "gate of numbers": lambda op: op.imls_backward(X, X, LEAK, True),
    "state of another size": lambda op: op.lif(X, torch.zeros(200_000), LEAK, *LIF_SETTINGS),
    "leak with dimensions": lambda op: op.lif(X, U, torch.full((8,), 0.5), *LIF_SETTINGS),
    "gradient of another size": lambda op: op.lif_backward(torch.ones(1), U, X, U, LEAK, *LIF_SETTINGS),
    "last gradient of another size": lambda op: op.lif_backward(X, X, X, U, LEAK, *LIF_SETTINGS),
}


@pytest.mark.skipif(not ops.COMPILED, reason="the CPU kernels are not built")
@pytest.mark.parametrize("what", UNFIT)
def test_what_does_not_fit_is_refused_and_no_foreign_memory_is_read(what):
    with pytest.raises((ValueError, RuntimeError)):
        UNFIT[what](torch.ops.imlspike)


def test_infinite_currents_have_the_gradients_of_the_definition():
    for soft, detached, decays in itertools.product((True, False), repeat=3):
        x, settings = torch.tensor([[float("inf")], [1.0]]), (1.0, decays, soft, detached, "sigmoid", 4.0)
        given = (torch.ones_like(x), torch.ones(1), x, torch.zeros(1), torch.tensor(0.5), *settings)
        ours, theirs = torch.ops.imlspike.lif_backward(*given), reference.lif_backward(*given)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, equal_nan=True)


def test_results_lie_as_the_fake_ones_do():
    x = torch.randn(6, 7).t()
    y, gate = reference.imls(x, torch.tensor(0.5), 6, True)
    assert y.is_contiguous() and gate.is_contiguous()
    assert reference.imls_backward(x, gate, torch.tensor(0.5), False).is_contiguous()
