"""LIF and PLIF: leaky integrate-and-fire layers over T time steps (Spiking Vocos, equations 1 to 3)."""

import math

import torch
from torch import Tensor, nn

from imlspike import ops
from imlspike.neurons.base import Neuron, register
from imlspike.ops.reference import wide, widen
from imlspike.ops.surrogate import SHARPNESS, check_surrogate, spike


@register("lif")
class LIF(Neuron):
    r"""Leaky integrate-and-fire neuron over T time steps.

    .. math::
        H_t &= V_{t-1} + (X_t - (V_{t-1} - V_{re})) / \tau  \quad\text{(input decays)} \\
        H_t &= V_{t-1} - (V_{t-1} - V_{re}) / \tau + X_t    \quad\text{(it does not)} \\
        S_t &= 1[H_t \ge V_{th}] \\
        V_t &= V_{re} S_t + H_t (1 - S_t) \text{ (hard reset)} \ \text{or}\ H_t - V_{th} S_t \text{ (soft)}

    `step` is that in torch, differentiable by autograd; the T steps of `forward` and `run` are one operator
    (`imlspike.ops.lif`) with the same spikes and gradients. The defaults are those of Spiking Vocos;
    SpikeVoice detaches the reset too. Each call of the module starts at rest and leaves no state; `run` and
    `step` take the state and hand it back.

    Args:
        tau: time constant in steps, at least 1 (1 forgets everything). ``math.inf`` (no leak: the
            integrate-and-fire neuron) needs ``decay_input=False``.
        threshold: V_th, above the resting potential.
        reset: "hard" (to ``v_reset``) or "soft" (subtract the threshold).
        v_reset: V_re, resting potential and target of the hard reset; 0 with the soft one.
        decay_input: scale the input by 1 / tau too, as in equation 1.
        detach_reset: no gradient through the spike that resets.
        surrogate: name of the surrogate gradient (see :mod:`imlspike.ops.surrogate`).
        alpha: its sharpness; that surrogate's default when left out.

    Raises:
        ValueError: an argument out of range, or an unknown surrogate.

    >>> LIF(tau=2.0)(torch.tensor([[1.0], [1.5], [1.0]])).flatten().tolist()      # (T, ...) -> (T, ...)
    [0.0, 1.0, 0.0]
    """

    levels, stateful = 1, True

    def __init__(
        self, tau: float = 2.0, threshold: float = 1.0, reset: str = "hard", v_reset: float = 0.0,
        decay_input: bool = True, detach_reset: bool = False, surrogate: str = "sigmoid",
        alpha: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if reset not in ("hard", "soft"):
            raise ValueError(f"reset must be 'hard' or 'soft', not {reset!r}")
        if reset == "soft" and v_reset != 0:
            raise ValueError(f"a soft reset rests at 0: leave v_reset={v_reset} out")
        if not -math.inf < v_reset < threshold < math.inf:
            raise ValueError(f"v_reset and, above it, threshold must be finite, not {v_reset}, {threshold}")
        if not tau >= 1 or (decay_input and tau == math.inf):
            raise ValueError(f"tau must be at least 1, and finite when the input decays with it, not {tau}")
        check_surrogate(surrogate, alpha)
        self.threshold, self.reset, self.v_reset = float(threshold), reset, float(v_reset)
        self.decay_input, self.detach_reset = decay_input, detach_reset
        self.surrogate, self.alpha = surrogate, SHARPNESS[surrogate] if alpha is None else float(alpha)
        self._init_tau(float(tau))

    def _init_tau(self, tau: float) -> None:
        self.tau = tau

    def leak(self, x: Tensor) -> Tensor:
        """1 / tau without dimensions, where x is, at least fp32."""
        return torch.full((), 1 / self.tau, dtype=wide(x), device=x.device)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Input (T, ...) to spikes (T, ...) of the same dtype, from rest."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Input (T, ...) and state V (...) to spikes (T, ...) and the state after the last step.

        The state is at least fp32. A sequence cut anywhere and resumed gives what it gives in one piece:

        >>> neuron, x = LIF(), torch.tensor([[1.0], [1.5], [1.0], [2.0]])
        >>> first, state = neuron.run(x[:1])
        >>> torch.equal(torch.cat([first, neuron.run(x[1:], state)[0]]), neuron(x))
        True

        ValueError: x has no time axis, is not floating point, or the state doesn't fit it.
        """
        if x.dim() == 0:
            raise ValueError("expected currents (T, ...), got a number without a time axis")
        u = x.new_zeros(x.shape[1:], dtype=wide(x)) if state is None else state - self.v_reset
        if (u.shape, u.dtype) != (wanted := (x.shape[1:], wide(x))):
            raise ValueError(f"the state must have shape and dtype {wanted}, not {(u.shape, u.dtype)}")
        above = (self.threshold - self.v_reset, self.decay_input, self.reset == "soft", self.detach_reset)
        spikes, u = ops.lif(x, u, self.leak(x), *above, self.surrogate, self.alpha)
        return spikes, u + self.v_reset if self.v_reset else u

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One time step: input (...) and state V (...) to spikes (...) and the new state.

        >>> s, v = LIF().step(torch.tensor([1.0, 3.0]))
        >>> s.tolist(), v.tolist()
        ([0.0, 1.0], [0.5, 0.0])
        """
        current, leak, threshold = widen(x), self.leak(x), self.threshold - self.v_reset
        u = torch.zeros_like(current) if state is None else state - self.v_reset  # above rest
        h = u + leak * (current - u) if self.decay_input else (1 - leak) * u + current
        s = spike(h - threshold, self.surrogate, self.alpha)
        fired = s.detach() if self.detach_reset else s
        return s.to(x.dtype), h - fired * (threshold if self.reset == "soft" else h) + self.v_reset

    def extra_repr(self) -> str:
        shown = ("tau", "threshold", "reset", "v_reset", "decay_input", "detach_reset", "surrogate", "alpha")
        return ", ".join(f"{name}={getattr(self, name)}" for name in shown)


@register("plif")
class PLIF(LIF):
    """LIF with one learnable time constant per layer (Fang et al. 2021; Spiking Vocos, equations 1 to 3).

    1 / tau = sigmoid(w) with the parameter ``w``, so tau stays above 1 whatever the optimizer does. The
    arguments are those of :class:`LIF`; ``tau`` is the initial value, above 1 and finite.

    >>> neuron = PLIF(tau=4.0)
    >>> round(neuron.tau, 6), [name for name, _ in neuron.named_parameters()]
    (4.0, ['w'])
    """

    def _init_tau(self, tau: float) -> None:
        if not 1 < tau < math.inf:
            raise ValueError(f"a learnable tau must start above 1 and be finite, not {tau}")
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1)))

    @property
    def tau(self) -> float:
        """Time constant in steps, as learned so far."""
        return 1 / torch.sigmoid(self.w.detach().double()).item()

    def leak(self, x: Tensor) -> Tensor:
        """sigmoid(w)."""
        return torch.sigmoid(self.w.to(wide(x)))
