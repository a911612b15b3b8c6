"""The neurons' operators on a GPU (Triton); `imlspike.ops.reference` is their definition.

With TRITON_INTERPRET=1 in the environment they run on a CPU, which is how they are tested where there is no GPU.
Nothing here waits for the device. Products and sums are not fused, so that spikes are those of the definition.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from imlspike.ops.reference import widen
from imlspike.ops.surrogate import SURROGATES

BLOCK = 1024


@triton.jit
def _divide(a, b):
    return tl.math.div_rn(a, b) if a.dtype == tl.float32 else a / b  # of fp32, / alone is approximate


@triton.jit
def _imls(x, theta, y, gate, n, run, levels, below_half, SCALED: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real = at < n
    unit = tl.load(theta + at // run, real, 1.0)
    wide = tl.load(x + at, real, 0.0).to(unit.dtype)
    s = tl.floor(_divide(wide, unit) + below_half)
    s = tl.where(s < 0, 0.0, tl.where(s > levels, levels + 0.0, s))  # NaN stays
    tl.store(y + at, (s * unit if SCALED else s).to(y.dtype.element_ty), real)
    tl.store(gate + at, ((wide >= 0) & (wide <= (levels + 0.5) * unit)).to(gate.dtype.element_ty), real)


@triton.jit
def _imls_backward(grad, gate, theta, out, n, run, SCALED: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real = at < n
    unit = tl.load(theta + at // run, real, 1.0)
    passed = tl.load(grad + at, real, 0.0).to(unit.dtype) * tl.load(gate + at, real, 0).to(unit.dtype)
    tl.store(out + at, (passed if SCALED else _divide(passed, unit)).to(out.dtype.element_ty), real)


@triton.jit
def _integrate(current, u, rate, DECAY: tl.constexpr):
    if DECAY:
        h = u + rate * (current - u)
    else:
        h = (1 - rate) * u + current
    return h


@triton.jit
def _reset(h, threshold, SOFT: tl.constexpr):
    s = (h >= threshold).to(h.dtype)
    return h - threshold * s if SOFT else h - h * s


@triton.jit
def _lif(
    x,
    u,
    leak,
    spikes,
    last,
    n,
    stride,
    threshold,
    T: tl.constexpr,
    DECAY: tl.constexpr,
    SOFT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real, rate = at < n, tl.load(leak)
    state = tl.load(u + at, real, 0.0).to(rate.dtype)
    for t in range(T):
        h = _integrate(tl.load(x + t * stride + at, real, 0.0).to(rate.dtype), state, rate, DECAY)
        tl.store(spikes + t * n + at, (h >= threshold).to(spikes.dtype.element_ty), real)
        state = _reset(h, threshold, SOFT)
    tl.store(last + at, state.to(last.dtype.element_ty), real)


@triton.jit
def _slope(x, a, SURROGATE: tl.constexpr):
    if SURROGATE == 0:
        y = 1 / (1 + tl.exp(-a * x))
        d = a * y * (1 - y)
    elif SURROGATE == 1:
        y = 1.5707963267948966 * a * x
        d = a / 2 / (1 + y * y)
    elif SURROGATE == 2:
        y = 1 - a * tl.abs(x)
        d = tl.where(y > 0, a * y, 0.0)
    elif SURROGATE == 3:
        d = tl.where(tl.abs(x) < 0.5 / a, a + 0 * x, 0.0)
    elif SURROGATE == 4:
        y = 1 + a * tl.abs(x)
        d = 1 / (y * y)
    else:
        d = 1 + 0 * x
    return d


@triton.jit
def _lif_backward(
    grad_spikes, grad_u, x, u, leak, potentials, to_x, to_u, of_leak, n, stride, threshold, alpha,
    T: tl.constexpr, DECAY: tl.constexpr, SOFT: tl.constexpr, DETACH: tl.constexpr, SURROGATE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real, rate = at < n, tl.load(leak)
    first = tl.load(u + at, real, 0.0).to(rate.dtype)
    state = first
    for t in range(T):
        h = _integrate(tl.load(x + t * stride + at, real, 0.0).to(rate.dtype), state, rate, DECAY)
        tl.store(potentials + t * n + at, h, real)
        state = _reset(h, threshold, SOFT)
    g = tl.load(grad_u + at, real, 0.0).to(rate.dtype)
    total = 0 * first
    for back in range(T):
        t = T - 1 - back
        h = tl.load(potentials + t * n + at, real, 0.0)
        left = tl.load(potentials + (t - 1) * n + at, real & (t > 0), 0.0)
        before = tl.where(t > 0, _reset(left, threshold, SOFT), first)
        d = _slope(h - threshold, alpha, SURROGATE)
        kept = 1 + 0 * h if SOFT else (h < threshold).to(h.dtype)
        m = kept if DETACH else kept - (threshold if SOFT else h) * d
        of_h = tl.load(grad_spikes + t * n + at, real, 0.0).to(rate.dtype) * d + g * m
        current = tl.load(x + t * stride + at, real, 0.0).to(rate.dtype)
        total += tl.where(real, of_h * (current - before if DECAY else -before), 0.0)
        tl.store(to_x + t * n + at, (rate * of_h if DECAY else of_h).to(to_x.dtype.element_ty), real)
        g = (1 - rate) * of_h
    tl.store(to_u + at, g.to(to_u.dtype.element_ty), real)
    tl.store(of_leak + tl.program_id(0), tl.sum(total))


def _grid(n: int) -> tuple[int]:
    return (triton.cdiv(n, BLOCK),)


def _thresholds(x: Tensor, theta: Tensor) -> tuple[Tensor, int]:
    """theta in memory order, and how many elements, one after the other, share one; as csrc/neurons.cpp has it."""
    dim, wide = x.dim(), widen(x[:0] if x.dim() else x).dtype
    while theta.dim() == x.dim() and dim > 0 and theta.shape[dim - 1] == 1:
        dim -= 1
    if theta.numel() == 1:
        return theta.to(wide), max(1, x.numel())
    if theta.dim() == x.dim() and theta.shape[:dim] == x.shape[:dim]:
        return theta.to(wide).contiguous(), x.shape[dim:].numel()
    return theta.expand_as(x).to(wide).contiguous(), 1


def imls(x: Tensor, theta: Tensor, levels: int, scaled: bool) -> tuple[Tensor, Tensor]:
    """See `imlspike.ops.reference.imls`."""
    x, (theta, run) = x.contiguous(), _thresholds(x, theta)
    y, gate = torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)
    below_half = 0.5 - torch.finfo(theta.dtype).eps / 4
    if x.numel():
        _imls[_grid(x.numel())](
            x, theta, y, gate, x.numel(), run, levels, below_half, scaled, BLOCK, **UNFUSED
        )
    return y, gate


def imls_backward(grad: Tensor, gate: Tensor, theta: Tensor, scaled: bool) -> Tensor:
    """See `imlspike.ops.reference.imls_backward`."""
    grad, (theta, run) = grad.contiguous(), _thresholds(grad, theta)
    out = torch.empty_like(grad)
    if grad.numel():
        _imls_backward[_grid(grad.numel())](
            grad, gate.contiguous(), theta, out, grad.numel(), run, scaled, BLOCK
        )
    return out


def lif(x, u, leak, threshold, decay_input, soft_reset, *_) -> tuple[Tensor, Tensor]:
    """See `imlspike.ops.reference.lif`."""
    x, leak = x if x[0].is_contiguous() else x.contiguous(), leak.to(widen(x[:0]).dtype)
    spikes, last = x.new_empty(x.shape), x.new_empty(u.shape)
    if n := u.numel():
        _lif[_grid(n)](
            x,
            u.contiguous(),
            leak,
            spikes,
            last,
            n,
            x.stride(0),
            threshold,
            len(x),
            decay_input,
            soft_reset,
            BLOCK,
            **UNFUSED,
        )
    return spikes, last


def lif_backward(
    grad_spikes, grad_u, x, u, leak, threshold, decay_input, soft_reset, detach_reset, surrogate, alpha
) -> tuple[Tensor, Tensor, Tensor]:
    """See `imlspike.ops.reference.lif_backward`."""
    x, rate = x if x[0].is_contiguous() else x.contiguous(), leak.to(widen(x[:0]).dtype)
    n, to_x, to_u = u.numel(), x.new_empty(x.shape), x.new_empty(u.shape)
    potentials, of_leak = rate.new_empty(x.shape), rate.new_zeros(_grid(n))
    if n:
        _lif_backward[_grid(n)](
            grad_spikes.contiguous(), grad_u.contiguous(), x, u.contiguous(), rate, potentials, to_x, to_u, of_leak,
            n, x.stride(0), threshold, alpha, len(x), decay_input, soft_reset, detach_reset,
            SURROGATES.index(surrogate), BLOCK,
        )  # fmt: skip
    return to_x, to_u, of_leak.sum().to(leak.dtype)


UNFUSED = {} if triton.knobs.runtime.interpret else {"enable_fp_fusion": False}
