"""The leaky integrate-and-fire neuron as pure functions: one time step, and all of them at once.

:func:`lif_step` is the definition and differentiates through autograd. :func:`lif` runs T steps in place
with one hand-written backward pass; it computes the same numbers and the same gradients, faster and in less
memory: piece by piece, so that all passes over a piece hit the cache, and keeping only the input.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .kernels import back, integrate, kernels_serve
from .surrogate import Surrogate, spike


class LIFParameters(NamedTuple):
    """What a leaky integrate-and-fire neuron needs besides its input and its state.

    Attributes:
        leak: 1 / tau, in [0, 1]; a number, or a tensor without dimensions that may require a gradient.
        threshold: V_th.
        v_reset: V_re, the resting potential and what a hard reset goes to; None for a soft reset (rest at 0).
        decay_input: multiply the input by ``leak`` as well.
        detach_reset: no gradient through the spike that resets.
        surrogate: derivative of the spike in the backward pass.
    """

    leak: Tensor | float = 0.5
    threshold: float = 1.0
    v_reset: float | None = 0.0
    decay_input: bool = True
    detach_reset: bool = False
    surrogate: Surrogate = Surrogate("sigmoid")

    @property
    def rest(self) -> float:
        """Resting potential: what a fresh state holds."""
        return 0.0 if self.v_reset is None else self.v_reset


DEFAULT = LIFParameters()

# Elements of x, over all T, that a thread works on at a time: all passes over them hit its cache.
_PIECE = 1 << 16

# Everything below works with u = V - rest, the potential above rest, in which rest is zero and equation 1
# with the input decayed is one linear interpolation.


def lif_step(x: Tensor, v: Tensor | None = None, p: LIFParameters = DEFAULT) -> tuple[Tensor, Tensor]:
    """One time step of the (P)LIF neuron, equations 1 to 3 of Spiking Vocos.

    ::

        H = V + (X - (V - V_re)) / tau          decay_input          (1)
        H = V - (V - V_re) / tau + X            not decay_input
        S = 1[H >= V_th]                                             (2)
        V = V_re S + H (1 - S)                  hard reset           (3)
        V = H - V_th S                          soft reset (v_reset None, V_re = 0)

    Args:
        x: input current X of any shape, floating point.
        v: membrane potential V left by the step before, of x's shape, dtype and device; None starts at rest.
        p: parameters.

    Returns:
        Spikes S (0 or 1) and the new potential V, both of x's shape and dtype.

    >>> s, v = lif_step(torch.tensor([1.0, 3.0]))
    >>> s.tolist(), v.tolist()
    ([0.0, 1.0], [0.5, 0.0])
    """
    u = torch.zeros_like(x) if v is None else v - p.rest
    h = torch.lerp(u, x, p.leak) if p.decay_input else u * (1 - p.leak) + x
    s = spike(h - (p.threshold - p.rest), p.surrogate)
    fired = s.detach() if p.detach_reset else s
    u = h - fired * (p.threshold if p.v_reset is None else h)
    return s, u + p.rest


def lif(x: Tensor, v: Tensor | None = None, p: LIFParameters = DEFAULT) -> tuple[Tensor, Tensor]:
    """T time steps of :func:`lif_step`, the same numbers and gradients, with a fused backward pass.

    Args:
        x: input current (T, ...), floating point.
        v: membrane potential before the first step, shape ``x.shape[1:]``, dtype and device of x; None starts
            at rest.
        p: parameters.

    Returns:
        Spikes (T, ...) and the potential after the last step, shape ``x.shape[1:]``. Passing that back as
        ``v`` continues the sequence. Gradients reach x, v and a tensor leak; they cannot be differentiated
        again.

    Raises:
        ValueError: x has no time axis, is not floating point, or v does not fit it.

    >>> spikes, v = lif(torch.tensor([[1.0], [1.5], [1.0]]))     # H = 0.5, 1.0 (fires), 0.5
    >>> spikes.flatten().tolist(), v.item()
    ([0.0, 1.0, 0.0], 0.5)
    """
    if x.dim() == 0 or not x.is_floating_point():
        raise ValueError(f"expected a floating-point input (T, ...), got {x.dtype} of shape {tuple(x.shape)}")
    if v is not None and (v.shape != x.shape[1:] or v.dtype != x.dtype):
        raise ValueError(
            f"the state must have the shape and dtype of one time step, {tuple(x.shape[1:])} {x.dtype}, "
            f"not {tuple(v.shape)} {v.dtype}"
        )
    if torch.compiler.is_compiling():  # exporters want plain operations, compilers fuse them on their own
        return _unrolled(x, v, p)
    currents = x.reshape(len(x), math.prod(x.shape[1:]))
    u = currents.new_zeros(currents.shape[1]) if v is None else v.reshape(-1) - p.rest
    leak_grad = isinstance(p.leak, Tensor) and p.leak.requires_grad
    if torch.is_grad_enabled() and (x.requires_grad or u.requires_grad or leak_grad):
        s, u = _FusedLIF.apply(currents, u, p.leak, p)
    else:
        s, u = _integrate(currents, u, p.leak, p)
    return s.view(x.shape), u.view(x.shape[1:]) + p.rest


def _unrolled(x: Tensor, v: Tensor | None, p: LIFParameters) -> tuple[Tensor, Tensor]:
    spikes = []
    v = torch.full_like(x[0], p.rest) if v is None else v
    for current in x:
        s, v = lif_step(current, v, p)
        spikes.append(s)
    return torch.stack(spikes), v


# Below, x is (T, N), u is (N).


def _cuts(x: Tensor) -> list[slice]:
    """Pieces of the N neurons: on a CPU so many that what is worked on at a time stays in the cache."""
    steps, neurons = x.shape
    if x.device.type != "cpu":
        return [slice(0, neurons)]
    size = max(1, _PIECE * torch.get_num_threads() // max(1, steps))
    return [slice(start, start + size) for start in range(0, neurons, size)]


def _integrate(x: Tensor, u: Tensor, leak: Tensor | float, p: LIFParameters) -> tuple[Tensor, Tensor]:
    """Spikes and the last potential."""
    if kernels_serve(x):
        return integrate(x, u, leak, p)
    spikes = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    u = u.clone()
    for cut in _cuts(x):
        h, after = torch.empty_like(u[cut]), u[cut]
        _run(x[:, cut], after, leak, p, [h] * len(x), spikes[:, cut], [after] * len(x))
    return spikes, u


def _run(x: Tensor, u: Tensor, leak: Tensor | float, p: LIFParameters, h, s, after) -> None:
    """Fills h, s and after, of each step the potentials before the reset, the spikes, and those after it."""
    for current, ht, st, left in zip(x, h, s, after, strict=True):
        if p.decay_input:
            torch.lerp(u, current, leak, out=ht)
        else:
            torch.mul(u, 1 - leak, out=ht).add_(current)
        torch.ge(ht, p.threshold - p.rest, out=st)
        if p.v_reset is None:
            u = torch.add(ht, st, alpha=-p.threshold, out=left)
        else:
            u = torch.addcmul(ht, ht, st, value=-1, out=left)


class _FusedLIF(torch.autograd.Function):
    """Back-propagation through time by hand.

    With g_t the gradient that reaches u_t (the potential after the reset of step t) from later steps, q_t the
    one that reaches the spike S_t, and d_t the surrogate derivative at H_t:

        dL/dH_t = q_t d_t + g_t m_t,  m_t = du_t/dH_t
        hard reset  u_t = H_t (1 - S_t)     m_t = 1 - S_t - H_t d_t
        soft reset  u_t = H_t - V_th S_t    m_t = 1 - V_th d_t

    (detached reset: no d_t in m_t), then g_{t-1} = (1 - leak) dL/dH_t, dL/dX_t = leak dL/dH_t and
    dL/dleak = sum_t dL/dH_t (X_t - u_{t-1}); where the input does not decay, dL/dH_t and -u_{t-1}.

    Only the input is kept: to run a piece of the neurons again takes about as long as to store and read their
    potentials and spikes, and no memory.
    """

    @staticmethod
    def forward(ctx, x: Tensor, u: Tensor, leak: Tensor | float, p: LIFParameters) -> tuple[Tensor, Tensor]:
        learned = isinstance(leak, Tensor)
        ctx.p, ctx.leak = p._replace(leak=0.0), None if learned else leak
        ctx.save_for_backward(x, u, leak if learned else None)
        return _integrate(x, u, leak, p)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_spikes: Tensor, grad_last: Tensor):
        x, u, leak = ctx.saved_tensors
        learned = leak is not None
        leak = leak if learned else ctx.leak
        if kernels_serve(x):
            grad_x = grad_spikes.clone(memory_format=torch.contiguous_format)
            grad_u, slope = back(x, u, grad_x, grad_last.contiguous(), leak, ctx.p)
            return grad_x, grad_u, leak.new_tensor(slope) if learned else None, None
        grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        grad_u = torch.empty_like(u)
        tensors = (x, u, grad_spikes, grad_last, grad_x, grad_u)
        slopes = [_backward(*(each[..., cut] for each in tensors), leak, ctx.p) for cut in _cuts(x)]
        return grad_x, grad_u, sum(slopes, torch.zeros_like(leak)) if learned else None, None


def _backward(x, u, grad_spikes, grad_last, grad_x, grad_u, leak, p: LIFParameters) -> Tensor | None:
    """Fills grad_x and grad_u; returns dL/dleak where the leak is a tensor. The equations are above."""
    h, s, before = (torch.empty_like(x) for _ in range(3))
    before[0] = u
    _run(x, before[0], leak, p, h.unbind(), s.unbind(), [*before[1:].unbind(), torch.empty_like(u)])
    slopes, g = p.surrogate.derivative(h - (p.threshold - p.rest)), grad_last
    torch.mul(grad_spikes, slopes, out=grad_x)
    passed = _reset_slopes(h, s, slopes, p)
    for grad_h, m in zip(reversed(grad_x.unbind()), reversed(passed.unbind()), strict=True):
        g = grad_h.addcmul_(g, m) * (1 - leak)
    grad_u.copy_(g)
    grad_leak = None
    if isinstance(leak, Tensor):
        grad_leak = ((x - before if p.decay_input else -before) * grad_x).sum()
    if p.decay_input:
        grad_x.mul_(leak)
    return grad_leak


def _reset_slopes(h: Tensor, spikes: Tensor, slopes: Tensor, p: LIFParameters) -> Tensor:
    """m_t = du_t / dH_t."""
    if p.v_reset is None:
        return torch.ones_like(h) if p.detach_reset else 1 - p.threshold * slopes
    return 1 - (spikes if p.detach_reset else torch.addcmul(spikes, h, slopes))


# What a layer that works off a neuron together with what follows it needs; without autograd, from rest.


def fired(x: Tensor, leak: Tensor | float, p: LIFParameters, out: Tensor | None = None) -> Tensor:
    """The spikes of T steps from rest, as bytes.

    Args:
        x: input current (T, ...).
        leak: 1 / tau; that of `p` plays no part.
        p: parameters.
        out: int8, contiguous, of as many elements as x; filled, if it's given.

    Returns:
        int8 of the shape of x.

    >>> fired(torch.tensor([[1.0], [1.5], [1.0]]), 0.5, DEFAULT).flatten().tolist()
    [0, 1, 0]
    """
    flat = x.flatten(1)
    out = torch.empty(x.shape, dtype=torch.int8, device=x.device) if out is None else out.view(x.shape)
    if kernels_serve(flat):
        integrate(flat, None, leak, p, out.view(flat.shape))
        return out
    return out.copy_(_integrate(flat, torch.zeros_like(flat[0]), leak, p)[0].view(x.shape))


def back_to_current(x: Tensor, grad: Tensor, leak: Tensor, p: LIFParameters) -> Tensor | float:
    """Turns the gradient of the spikes of `fired` into that of x, in place.

    Args:
        x: (T, ...).
        grad: of the spikes, of the shape of x, contiguous.
        leak, p: as of `fired`, the leak a tensor.

    Returns:
        dL/dleak.
    """
    flat, grad = x.flatten(1), grad.view(len(x), -1)
    if kernels_serve(flat):
        return back(flat, None, grad, None, leak, p)[1]
    rest, none = torch.zeros(2, flat.shape[1], dtype=x.dtype, device=x.device)
    return _backward(flat, rest, grad.clone(), none, grad, torch.empty_like(rest), leak, p)
