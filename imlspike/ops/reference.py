"""The neurons' definitions in plain torch: what every faster form of an operator is tested against.

They run wherever torch runs, and are what runs where no compiled form is at hand. Half-precision inputs are
raised to fp32, so that a spike doesn't depend on their rounding; results have the dtype of the input.
"""

import torch
from torch import Tensor

from imlspike.ops.surrogate import derivative

# The largest number below 1/2. floor(r + this) rounds r to the nearest integer, ties up, without the one
# error of floor(r + 0.5): r = 1/2 - 2^-25 (fp32), which rounds up to 1 before the floor is taken.
BELOW_HALF = {torch.float32: 0.5 - 2.0**-25, torch.float64: 0.5 - 2.0**-54}


def wide(x: Tensor) -> torch.dtype:
    """The dtype that x is worked on in: fp32, or fp64 for an fp64 x."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def widen(x: Tensor) -> Tensor:
    """Raise half precision to fp32; leave fp32 and fp64 as they are."""
    return x.to(wide(x))


def eight_bits(theta: Tensor) -> Tensor:
    """Round to eight significant bits, so that every multiple (k - 1/2) theta, k < 2^15, is exact in fp32."""
    return theta.to(torch.bfloat16, copy=True).to(theta.dtype)


def imls(x: Tensor, theta: Tensor, levels: int, scaled: bool) -> tuple[Tensor, Tensor]:
    r"""Multi-level spikes y = theta s (`scaled`) or s, and the gate of their gradient, as `IMLS` has them.

    .. math::
        s = \mathrm{clip}(\lfloor x / \theta + 1/2 \rfloor, 0, T), \quad g = 1[0 \le x \le (T + 1/2) \theta]

    Args:
        x: any shape, floating point.
        theta: positive thresholds that broadcast to x, fp32 (fp64 for an fp64 x).
        levels: T.

    Returns:
        y in x's shape and dtype, and g (bool).
    """
    current, theta = widen(x), theta.expand_as(x)
    s = torch.floor(current / theta + BELOW_HALF[current.dtype]).clamp(0, levels)
    gate = (current >= 0) & (current <= (levels + 0.5) * theta)
    return (s * theta if scaled else s).to(x.dtype).contiguous(), gate.contiguous()


def imls_backward(grad: Tensor, gate: Tensor, theta: Tensor, scaled: bool) -> Tensor:
    """Gradient of x, straight through an open gate: as if theta s were x, and s x / theta."""
    passed = widen(grad) * gate
    return (passed if scaled else passed / theta).to(grad.dtype).contiguous()


def _trajectory(x, u, leak, threshold, decay_input, soft_reset) -> tuple[Tensor, Tensor]:
    """H of each step, and u before each and after the last."""
    h, u, leak = [], [u], leak.to(u.dtype)
    for current in widen(x):
        h.append(u[-1] + leak * (current - u[-1]) if decay_input else (1 - leak) * u[-1] + current)
        s = (h[-1] >= threshold).to(h[-1].dtype)
        u.append(h[-1] - (threshold if soft_reset else h[-1]) * s)
    return torch.stack(h) if h else widen(x), torch.stack(u)


def lif(
    x: Tensor, u: Tensor, leak: Tensor, threshold: float, decay_input: bool, soft_reset: bool, *_
) -> tuple[Tensor, Tensor]:
    """T steps of the leaky integrate-and-fire neuron; the equations are those of `LIF`, with u = V - V_re.

    Args:
        x: input current X (T, ...), floating point.
        u: potential above rest before the first step, x.shape[1:], fp32 (fp64 for an fp64 x).
        leak: 1 / tau, no dimensions.
        threshold: V_th - V_re.
        decay_input, soft_reset: the input is multiplied by 1 / tau too; the threshold is subtracted.

    Returns:
        spikes S (T, ...) in x's dtype, and u after the last step.
    """
    h, u = _trajectory(x, u, leak, threshold, decay_input, soft_reset)
    return (h >= threshold).to(x.dtype), u[-1].clone()


def lif_backward(
    grad_spikes: Tensor, grad_u: Tensor, x: Tensor, u: Tensor, leak: Tensor, threshold: float,
    decay_input: bool, soft_reset: bool, detach_reset: bool, surrogate: str, alpha: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    r"""Back-propagation through the T steps of `lif`.

    With g_t the gradient that reaches u_t from later steps and d_t the surrogate derivative at H_t:

    .. math::
        \partial L/\partial H_t &= \partial L/\partial S_t\, d_t + g_t m_t, \qquad
        g_{t-1} = (1 - 1/\tau)\,\partial L/\partial H_t \\
        m_t &= 1 - S_t - H_t d_t \text{ (hard reset)} \quad\text{or}\quad 1 - V_{th} d_t \text{ (soft)}

    where a detached reset has no d_t in m_t. If the input decays, dL/dX_t = dL/dH_t / tau and dL/d(1/tau) is
    the sum of dL/dH_t (X_t - u_{t-1}); otherwise dL/dX_t = dL/dH_t, and X_t is not in that sum.

    Returns gradients of x, u and leak. Only the input is kept from the forward pass; the steps are run again.
    """
    current, rate = widen(x), leak.to(u.dtype)
    h, before = _trajectory(x, u, leak, threshold, decay_input, soft_reset)
    d = derivative(h - threshold, surrogate, alpha)
    kept = torch.ones_like(h) if soft_reset else (h < threshold).to(h.dtype)
    m = kept if detach_reset else kept - (threshold if soft_reset else h) * d
    g, grad_h = grad_u.clone(), widen(grad_spikes) * d
    for t in range(len(x) - 1, -1, -1):
        grad_h[t] += g * m[t]
        g = (1 - rate) * grad_h[t]
    grad_leak = (grad_h * ((current if decay_input else 0) - before[:-1])).sum()
    grad_x = rate * grad_h if decay_input else grad_h
    return grad_x.to(x.dtype), g, grad_leak.to(leak.dtype)
