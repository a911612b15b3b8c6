"""The neurons as torch.library operators `imlspike::imls`, `::lif` and `::eight_bits`.

Each has four parts: the definition (`reference`), which runs where nothing faster is at hand; a C++ kernel
for CPUs (csrc/neurons.cpp, built with the package); a Triton kernel for GPUs (`triton_kernels`); and what
compilers and exporters need: shapes without numbers (register_fake) and the gradient (register_autograd).
"""

import warnings
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd import forward_ad

from imlspike.ops import reference

LIF = (
    "Tensor x, Tensor u, Tensor leak, float threshold, bool decay_input, bool soft_reset, bool detach_reset, "
    "str surrogate, float alpha"
)
OPERATORS = {  # name: signature, and results without numbers
    "eight_bits": ("(Tensor theta) -> Tensor", torch.empty_like),
    "imls": (
        "(Tensor x, Tensor theta, int levels, bool scaled) -> (Tensor, Tensor)",
        lambda x, *_: (x.new_empty(x.shape), x.new_empty(x.shape, dtype=torch.bool)),
    ),
    "imls_backward": (
        "(Tensor grad, Tensor gate, Tensor theta, bool scaled) -> Tensor",
        lambda grad, *_: grad.new_empty(grad.shape),
    ),
    "lif": (f"({LIF}) -> (Tensor, Tensor)", lambda x, u, *_: (x.new_empty(x.shape), u.new_empty(u.shape))),
    "lif_backward": (
        f"(Tensor grad_spikes, Tensor grad_u, {LIF}) -> (Tensor, Tensor, Tensor)",
        lambda s, v, x, u, leak, *_: (x.new_empty(x.shape), u.new_empty(u.shape), leak.new_empty(())),
    ),
}
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LIBRARY, TRITON = torch.library.Library("imlspike", "DEF"), "imlspike.ops.triton_kernels"
for _name, (_signature, _fake) in OPERATORS.items():
    LIBRARY.define(_name + _signature)
    LIBRARY.impl(_name, getattr(reference, _name), "CompositeExplicitAutograd")
    torch.library.register_fake(f"imlspike::{_name}", _fake)
    if _name != "eight_bits" and find_spec("triton"):
        LIBRARY.impl(_name, lambda *a, name=_name: getattr(import_module(TRITON), name)(*a), "CUDA")


def _checked(operator):
    """`operator`; ValueError for tensors of another kind or on several devices, NotImplementedError under
    forward-mode derivatives, which torch would take for 0."""

    def run(x: Tensor, *others):
        for each in (x, *(other for other in others if isinstance(other, Tensor))):
            if each.dtype not in FLOATS or each.device != x.device:
                raise ValueError(f"neurons take {FLOATS} on one device, got {each.dtype} on {each.device}")
        if not torch.compiler.is_compiling() and forward_ad._current_level >= 0:
            if forward_ad.unpack_dual(x).tangent is not None:
                raise NotImplementedError("spiking neurons have no forward-mode derivatives (jvp)")
        return operator(x, *others)

    return run


eight_bits = torch.ops.imlspike.eight_bits
imls, lif = _checked(torch.ops.imlspike.imls), _checked(torch.ops.imlspike.lif)


def _load_extension() -> bool:
    """Load the CPU kernels if the package was built with them, for this torch; else the definitions run."""
    for place in (Path(__file__).with_name(f"_C{suffix}") for suffix in EXTENSION_SUFFIXES):
        try:
            if place.is_file():
                torch.ops.load_library(place)
                return True
        except OSError as error:
            warnings.warn(
                f"{place} was built for another torch ({error}); neurons run more slowly. Build it again: "
                "pip install --no-build-isolation --no-deps -e . (or ./run.sh setup)", stacklevel=2
            )  # fmt: skip
    return False


COMPILED = _load_extension()  # whether the CPU kernels are in use


def _keep_imls(ctx, inputs, output):
    x, theta, ctx.levels, ctx.scaled = inputs
    ctx.save_for_backward(output[1], theta, x if ctx.needs_input_grad[1] else None)


def _imls_gradient(ctx, grad: Tensor, _):
    gate, theta, x = ctx.saved_tensors
    # Where gradients of the gradient are asked for: the definition, which torch can differentiate.
    form = reference.imls_backward if torch.is_grad_enabled() else torch.ops.imlspike.imls_backward
    of_theta = None
    if x is not None:  # d(theta s)/dtheta = s - x/theta inside the gate, s outside; ds/dtheta = -x/theta^2, 0
        slope = torch.where(gate, -x / theta, 0)
        # The former has no slope of its own: s follows x/theta.
        slope = (imls(x, theta, ctx.levels, False)[0] + slope).detach() if ctx.scaled else slope / theta
        of_theta = (grad * slope).sum_to_size(theta.shape).to(theta.dtype)
    return form(grad, gate, theta, ctx.scaled), of_theta, None, None


def _keep_lif(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:3])
    ctx.settings = inputs[3:]


def _lif_gradient(ctx, grad_spikes: Tensor, grad_u: Tensor):
    grads = torch.ops.imlspike.lif_backward(grad_spikes, grad_u, *ctx.saved_tensors, *ctx.settings)
    return *grads, *[None] * len(ctx.settings)


def _no_second_gradient(ctx, *_):
    raise NotImplementedError("lif has no second-order gradients; differentiate LIF.step over the time steps")


torch.library.register_autograd("imlspike::eight_bits", lambda ctx, grad: grad)  # straight through
torch.library.register_autograd("imlspike::imls", _imls_gradient, setup_context=_keep_imls)
torch.library.register_autograd("imlspike::lif", _lif_gradient, setup_context=_keep_lif)
torch.library.register_autograd("imlspike::lif_backward", _no_second_gradient)
