"""The neurons as torch.library operators `imlspike::imls`, `::lif` and `::eight_bits`.

Each has four parts: the definition (`reference`), which runs where nothing faster is at hand; a C++ kernel for CPUs
(csrc/neurons.cpp, built with the package); a Triton kernel for GPUs (`triton_kernels`); and what compilers and
exporters need: shapes without numbers (register_fake) and the gradient (register_autograd).
"""

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

from imlspike.ops import reference

OF_LIF = (
    "Tensor x, Tensor u, Tensor leak, float threshold, bool decay_input, bool soft_reset, bool detach_reset, "
    "str surrogate, float alpha"
)
LIBRARY = torch.library.Library("imlspike", "DEF")
LIBRARY.define("eight_bits(Tensor theta) -> Tensor")
LIBRARY.define("imls(Tensor x, Tensor theta, int levels, bool scaled) -> (Tensor, Tensor)")
LIBRARY.define("imls_backward(Tensor grad, Tensor gate, Tensor theta, bool scaled) -> Tensor")
LIBRARY.define(f"lif({OF_LIF}) -> (Tensor, Tensor)")
LIBRARY.define(f"lif_backward(Tensor grad_spikes, Tensor grad_u, {OF_LIF}) -> (Tensor, Tensor, Tensor)")
for _name in ("eight_bits", "imls", "imls_backward", "lif", "lif_backward"):
    LIBRARY.impl(_name, getattr(reference, _name), "CompositeExplicitAutograd")

eight_bits, imls, lif = (torch.ops.imlspike.eight_bits, torch.ops.imlspike.imls, torch.ops.imlspike.lif)


def _find_extension() -> Path | None:
    places = (Path(__file__).parent / f"_C{suffix}" for suffix in EXTENSION_SUFFIXES)
    return next((place for place in places if place.is_file()), None)


def _load_extension() -> bool:
    """Load the compiled CPU kernels, if the package was built with them, for this torch.

    A library that was built against another torch doesn't load; the definitions run in its place.
    """
    place = _find_extension()
    if place is None:
        return False
    try:
        torch.ops.load_library(place)
    except OSError as error:
        import warnings

        warnings.warn(
            f"{place} was built for another torch ({error}); the neurons run more slowly. Build it again: "
            "pip install --no-build-isolation --no-deps -e . (or ./run.sh setup)",
            stacklevel=2,
        )
        return False
    return True


COMPILED = _load_extension()
"""Whether the CPU kernels are in use."""


def _on_cuda(name: str):
    def run(*args):
        from imlspike.ops import triton_kernels

        return getattr(triton_kernels, name)(*args)

    return run


for _name in ("imls", "imls_backward", "lif", "lif_backward"):
    LIBRARY.impl(_name, _on_cuda(_name), "CUDA")


@torch.library.register_fake("imlspike::eight_bits")
def _(theta):
    return torch.empty_like(theta)


@torch.library.register_fake("imlspike::imls")
def _(x, theta, levels, scaled):
    return x.new_empty(x.shape), x.new_empty(x.shape, dtype=torch.bool)


@torch.library.register_fake("imlspike::imls_backward")
def _(grad, gate, theta, scaled):
    return grad.new_empty(grad.shape)


@torch.library.register_fake("imlspike::lif")
def _(x, u, *_):
    return x.new_empty(x.shape), x.new_empty(u.shape)


@torch.library.register_fake("imlspike::lif_backward")
def _(grad_spikes, grad_u, x, u, leak, *_):
    return x.new_empty(x.shape), x.new_empty(u.shape), leak.new_empty(())


torch.library.register_autograd("imlspike::eight_bits", lambda ctx, grad: grad)  # straight through


def _keep_imls(ctx, inputs, output):
    x, theta, ctx.levels, ctx.scaled = inputs
    ctx.save_for_backward(output[1], theta, x if ctx.needs_input_grad[1] else None)


def _imls_gradient(ctx, grad: Tensor, _):
    gate, theta, x = ctx.saved_tensors
    grad_x = torch.ops.imlspike.imls_backward(grad, gate, theta, ctx.scaled)
    if x is None:
        return grad_x, None, None, None
    ratio = (
        x / theta
    )  # d(theta s)/dtheta = s - x/theta where s follows x/theta, else s; ds/dtheta = -x/theta^2, 0
    if ctx.scaled:
        slope = imls(x.detach(), theta.detach(), ctx.levels, False)[0] - torch.where(gate, ratio, 0)
    else:
        slope = torch.where(gate, -ratio / theta, 0)
    return grad_x, (grad * slope).sum_to_size(theta.shape).to(theta.dtype), None, None


def _keep_imls_backward(ctx, inputs, output):
    grad, gate, theta, ctx.scaled = inputs
    ctx.save_for_backward(gate, theta, grad if ctx.needs_input_grad[2] and not ctx.scaled else None)


def _imls_second_gradient(ctx, grad: Tensor):
    """It is linear in the gradient; where spikes are worth 1 it falls with theta."""
    gate, theta, first = ctx.saved_tensors
    of_theta = None
    if first is not None:
        of_theta = (
            -(grad * torch.where(gate, first / theta.square(), 0)).sum_to_size(theta.shape).to(theta.dtype)
        )
    return torch.ops.imlspike.imls_backward(grad, gate, theta, ctx.scaled), None, of_theta, None


torch.library.register_autograd("imlspike::imls", _imls_gradient, setup_context=_keep_imls)
torch.library.register_autograd(
    "imlspike::imls_backward", _imls_second_gradient, setup_context=_keep_imls_backward
)


def _keep_lif(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:3])
    ctx.settings = inputs[3:]


def _lif_backward(ctx, grad_spikes, grad_u):
    x, u, leak = ctx.saved_tensors
    grads = torch.ops.imlspike.lif_backward(grad_spikes, grad_u, x, u, leak, *ctx.settings)
    return *grads, *[None] * len(ctx.settings)


def _no_second_order(ctx, *_):
    raise NotImplementedError(
        "second-order gradients of lif aren't there; differentiate LIF.step over the time steps instead"
    )


torch.library.register_autograd("imlspike::lif", _lif_backward, setup_context=_keep_lif)
torch.library.register_autograd("imlspike::lif_backward", _no_second_order)
