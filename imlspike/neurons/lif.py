"""LIF and PLIF: leaky integrate-and-fire layers over T time steps (Spiking Vocos, equations 1 to 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .functional import LIFParameters, lif, lif_step
from .surrogate import Surrogate


class LIF(nn.Module):
    """Leaky integrate-and-fire neuron over T time steps; the equations are in :func:`functional.lif_step`.

    The defaults are those of Spiking Vocos; SpikeVoice detaches the reset too. Calling the module starts
    every sequence at rest, so no state survives a call; :meth:`run` and :meth:`step` take the state and
    hand it back. The module has no buffers.

    Args:
        tau: time constant in steps, at least 1 (1 forgets everything). ``math.inf`` (no leak: the
            integrate-and-fire neuron) needs ``decay_input=False``.
        threshold: V_th, above the resting potential.
        reset: "hard" (to ``v_reset``) or "soft" (subtract the threshold).
        v_reset: V_re, resting potential and target of the hard reset; 0 with the soft one.
        decay_input: scale the input by 1 / tau too, as in equation 1.
        detach_reset: no gradient through the spike that resets.
        surrogate: name of the surrogate gradient (see :mod:`imlspike.neurons.surrogate`).
        alpha: its sharpness; that surrogate's default when left out.

    Raises:
        ValueError: an argument out of range, or an unknown surrogate (the error names the nearest one).

    >>> neuron = LIF(tau=2.0)
    >>> neuron(torch.tensor([[1.0], [1.5], [1.0]])).flatten().tolist()      # (T, ...) -> (T, ...)
    [0.0, 1.0, 0.0]
    """

    def __init__(
        self,
        tau: float = 2.0,
        threshold: float = 1.0,
        reset: str = "hard",
        v_reset: float = 0.0,
        decay_input: bool = True,
        detach_reset: bool = False,
        surrogate: str = "sigmoid",
        alpha: float | None = None,
    ) -> None:
        super().__init__()
        if reset not in ("hard", "soft"):
            raise ValueError(f"reset must be 'hard' or 'soft', not {reset!r}")
        if reset == "soft" and v_reset != 0:
            raise ValueError(f"a soft reset rests at 0: leave v_reset={v_reset} out")
        if not v_reset < threshold < math.inf:
            raise ValueError(f"threshold must be finite and above v_reset ({v_reset}), not {threshold}")
        if not tau >= 1 or (decay_input and tau == math.inf):
            raise ValueError(f"tau must be at least 1, and finite when the input decays with it, not {tau}")
        self.threshold = float(threshold)
        self.v_reset = float(v_reset) if reset == "hard" else None
        self.decay_input = decay_input
        self.detach_reset = detach_reset
        self.surrogate = Surrogate(surrogate, alpha)
        self._init_tau(float(tau))

    def _init_tau(self, tau: float) -> None:
        self._tau = tau

    @property
    def tau(self) -> float:
        """Time constant in steps."""
        return self._tau

    def _parameters_for(self, x: Tensor) -> LIFParameters:
        return LIFParameters(
            self._leak(x), self.threshold, self.v_reset, self.decay_input, self.detach_reset, self.surrogate
        )

    def _leak(self, x: Tensor) -> Tensor | float:
        return 1 / self._tau

    def forward(self, x: Tensor) -> Tensor:
        """Input (T, ...) to spikes (T, ...) of the same dtype, from rest."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Input (T, ...) and state (...) to spikes (T, ...) and the state after the last step.

        A sequence cut anywhere and resumed from the state gives what it gives in one piece:

        >>> neuron, x = LIF(), torch.tensor([[1.0], [1.5], [1.0], [2.0]])
        >>> first, state = neuron.run(x[:1])
        >>> rest, state = neuron.run(x[1:], state)
        >>> torch.equal(torch.cat([first, rest]), neuron(x))
        True
        """
        return lif(x, state, self._parameters_for(x))

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One time step: input (...) and state (...) to spikes (...) and the new state."""
        return lif_step(x, state, self._parameters_for(x))

    def extra_repr(self) -> str:
        reset = "soft" if self.v_reset is None else f"hard to {self.v_reset:g}"
        return (
            f"tau={self.tau:g}, threshold={self.threshold:g}, reset={reset}, decay_input={self.decay_input}, "
            f"detach_reset={self.detach_reset}, surrogate={self.surrogate}"
        )


class PLIF(LIF):
    """LIF with one learnable time constant per layer (Fang et al. 2021; Spiking Vocos, equations 1 to 3).

    1 / tau = sigmoid(w) with the parameter ``w``, so tau stays above 1 whatever the optimiser does. The
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
        return 1 / torch.sigmoid(self.w.detach()).item()

    def _leak(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.w).to(x.dtype)
