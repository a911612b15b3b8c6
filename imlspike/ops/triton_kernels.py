"""The neurons' operators on a GPU (Triton); `imlspike.ops.reference` is their definition.

With TRITON_INTERPRET=1 they run on a CPU: so they are tested without a GPU. Products and sums are not
fused, so that spikes are the definition's; constants are compiled in: Triton passes them in fp32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from imlspike.ops.reference import BELOW_HALF, wide
from imlspike.ops.surrogate import SURROGATES

BLOCK = 1024
UNFUSED = {} if triton.knobs.runtime.interpret else {"enable_fp_fusion": False}


@triton.jit
def _divide(a, b):
    return tl.math.div_rn(a, b) if a.dtype == tl.float32 else a / b  # of fp32, / alone is approximate


@triton.jit
def _imls(x, theta, y, gate, n, run, levels, HALF: tl.constexpr, SCALED: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real = at < n
    unit = tl.load(theta + at // run, real, 1.0)
    wide = tl.load(x + at, real, 0.0).to(unit.dtype)
    s = tl.floor(_divide(wide, unit) + HALF)
    s = tl.where(s < 0, 0.0, tl.where(s > levels, levels + 0.0, s))  # NaN stays
    tl.store(y + at, (s * unit if SCALED else s).to(y.dtype.element_ty), real)
    tl.store(gate + at, ((wide >= 0) & (wide <= (levels + 0.5) * unit)).to(gate.dtype.element_ty), real)


@triton.jit
def _imls_backward(grad, gate, theta, to_x, n, run, SCALED: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real = at < n
    unit = tl.load(theta + at // run, real, 1.0)
    passed = tl.load(grad + at, real, 0.0).to(unit.dtype) * tl.load(gate + at, real, 0).to(unit.dtype)
    tl.store(to_x + at, (passed if SCALED else _divide(passed, unit)).to(to_x.dtype.element_ty), real)


@triton.jit
def _reset(h, THRESHOLD: tl.constexpr, SOFT: tl.constexpr):
    s = (h >= THRESHOLD).to(h.dtype)
    return h - THRESHOLD * s if SOFT else h - h * s


@triton.jit
def _lif(
    x, u, leak, spikes, last, n, stride, T: tl.constexpr, THRESHOLD: tl.constexpr, DECAY: tl.constexpr,
    SOFT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real, rate = at < n, tl.load(leak)
    state = tl.load(u + at, real, 0.0)
    for t in range(T):
        current = tl.load(x + t * stride + at, real, 0.0).to(rate.dtype)
        h = state + rate * (current - state) if DECAY else (1 - rate) * state + current
        tl.store(spikes + t * n + at, (h >= THRESHOLD).to(h.dtype).to(spikes.dtype.element_ty), real)
        state = _reset(h, THRESHOLD, SOFT)
    tl.store(last + at, state, real)


@triton.jit
def _slope(x, a: tl.constexpr, SURROGATE: tl.constexpr):
    if SURROGATE == 0:
        d = a / (1 + tl.exp(-a * x)) / (1 + tl.exp(a * x))
    elif SURROGATE == 1:
        d = a / 2 / (1 + (1.5707963267948966 * a * x) * (1.5707963267948966 * a * x))
    elif SURROGATE == 2:
        d = a * tl.maximum(1 - a * tl.abs(x), 0.0)
    elif SURROGATE == 3:
        d = tl.where(tl.abs(x) < 0.5 / a, a + 0 * x, 0.0)
    elif SURROGATE == 4:
        d = 1 / ((1 + a * tl.abs(x)) * (1 + a * tl.abs(x)))
    else:
        d = 1 + 0 * x
    return d


@triton.jit
def _lif_backward(
    grad_spikes, grad_u, x, u, leak, potentials, to_x, to_u, of_leak, n, stride, T: tl.constexpr,
    THRESHOLD: tl.constexpr, DECAY: tl.constexpr, SOFT: tl.constexpr, DETACH: tl.constexpr,
    SURROGATE: tl.constexpr, ALPHA: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real, rate = at < n, tl.load(leak)
    first = tl.load(u + at, real, 0.0)
    state = first
    for t in range(T):
        current = tl.load(x + t * stride + at, real, 0.0).to(rate.dtype)
        h = state + rate * (current - state) if DECAY else (1 - rate) * state + current
        tl.store(potentials + t * n + at, h, real)
        state = _reset(h, THRESHOLD, SOFT)
    g = tl.load(grad_u + at, real, 0.0)
    total = 0 * first
    for back in range(T):
        t = T - 1 - back
        h = tl.load(potentials + t * n + at, real, 0.0)
        left = tl.load(potentials + (t - 1) * n + at, real & (t > 0), 0.0)
        before = tl.where(t > 0, _reset(left, THRESHOLD, SOFT), first)
        d = _slope(h - THRESHOLD, ALPHA, SURROGATE)
        kept = 1 + 0 * h if SOFT else (h < THRESHOLD).to(h.dtype)
        m = kept if DETACH else kept - (THRESHOLD if SOFT else h) * d
        of_h = tl.load(grad_spikes + t * n + at, real, 0.0).to(rate.dtype) * d + g * m
        current = tl.load(x + t * stride + at, real, 0.0).to(rate.dtype)
        total += tl.where(real, of_h * (current - before if DECAY else -before), 0.0)
        tl.store(to_x + t * n + at, (rate * of_h if DECAY else of_h).to(to_x.dtype.element_ty), real)
        g = (1 - rate) * of_h
    tl.store(to_u + at, g, real)
    tl.store(of_leak + tl.program_id(0), tl.sum(total))


def _grid(n: int) -> tuple[int]:
    return (max(1, triton.cdiv(n, BLOCK)),)


def _runs(x: Tensor, theta: Tensor) -> tuple[Tensor, int]:
    """Thresholds of the runs of x, and their length: elements one after the other that share a threshold."""
    one, by_row = theta.numel() == 1, theta.shape == (*x.shape[:-1], 1)
    run = x.numel() if one else x.shape[-1] if by_row else 1
    return (theta if one or by_row else theta.expand_as(x)).to(wide(x)).contiguous(), max(run, 1)


def imls(x: Tensor, theta: Tensor, levels: int, scaled: bool) -> tuple[Tensor, Tensor]:
    """See `imlspike.ops.reference.imls`."""
    x, (theta, run), n = x.contiguous(), _runs(x, theta), x.numel()
    y, gate = torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)
    _imls[_grid(n)](x, theta, y, gate, n, run, levels, BELOW_HALF[theta.dtype], scaled, BLOCK, **UNFUSED)
    return y, gate


def imls_backward(grad: Tensor, gate: Tensor, theta: Tensor, scaled: bool) -> Tensor:
    """See `imlspike.ops.reference.imls_backward`."""
    grad, gate, (theta, run), n = grad.contiguous(), gate.contiguous(), _runs(grad, theta), grad.numel()
    to_x = torch.empty_like(grad)
    _imls_backward[_grid(n)](grad, gate, theta, to_x, n, run, scaled, BLOCK)
    return to_x


def lif(x, u, leak, threshold, decay_input, soft_reset, *_) -> tuple[Tensor, Tensor]:
    """See `imlspike.ops.reference.lif`."""
    x, leak = x if x[:1].is_contiguous() else x.contiguous(), leak.to(wide(x))  # steps may overlap
    n, spikes, last = u.numel(), x.new_empty(x.shape), u.new_empty(u.shape)
    _lif[_grid(n)](
        x, u.contiguous(), leak, spikes, last, n, x.stride(0), len(x), threshold, decay_input, soft_reset,
        BLOCK, **UNFUSED,
    )  # fmt: skip
    return spikes, last


def lif_backward(
    grad_spikes, grad_u, x, u, leak, threshold, decay_input, soft_reset, detach_reset, surrogate, alpha
) -> tuple[Tensor, Tensor, Tensor]:
    """See `imlspike.ops.reference.lif_backward`."""
    x, rate = x if x[:1].is_contiguous() else x.contiguous(), leak.to(wide(x))
    n, to_x, to_u = u.numel(), x.new_empty(x.shape), u.new_empty(u.shape)
    potentials, of_leak = rate.new_empty(x.shape), rate.new_empty(_grid(n))
    _lif_backward[_grid(n)](
        grad_spikes.contiguous(), grad_u.contiguous(), x, u.contiguous(), rate, potentials, to_x, to_u,
        of_leak, n, x.stride(0), len(x), threshold, decay_input, soft_reset, detach_reset,
        SURROGATES.index(surrogate), alpha, BLOCK,
    )  # fmt: skip
    return to_x, to_u, of_leak.sum().to(leak.dtype)
