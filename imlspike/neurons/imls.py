"""IMLS: the input-aware multi-level spiking neuron, and its unfolding into binary spikes.

IML-Spikeformer (arXiv 2507.07396) simulates several time steps of spiking in one: a neuron fires a whole
number of spikes at once, against a threshold that depends on its input. The paper's equations could not be
obtained; the formulation below is this project's own (see the README).
"""

import torch
from torch import Tensor, nn

from imlspike import ops
from imlspike.neurons.base import Neuron, register
from imlspike.ops.reference import wide, widen

THRESHOLDS = ("token", "channel", "layer", "fixed", "learned")
AMPLITUDES = ("theta", "unit")
WINDOWS = ("half", "levels")
CODINGS = ("unary", "bitwise")


@register("imls")
class IMLS(Neuron):
    r"""Input-aware multi-level spikes: up to `levels` spikes at once against an adaptive threshold.

    For token i and channel c with input x, T = ``levels`` and :math:`\kappa` = ``kappa``:

    .. math::
        \theta_i &= \max(\kappa \cdot \mathrm{mean}_c |x_{ic}|,\ \epsilon) \\
        s_{ic} &= \mathrm{clip}(\lfloor x_{ic} / \theta_i + 1/2 \rfloor,\ 0,\ T) \\
        y_{ic} &= \theta_i s_{ic} \\
        \partial y / \partial x &= 1[0 \le x \le (T + 1/2)\,\theta]   \quad\text{(straight-through)}

    With ``amplitude="unit"`` the neuron sends s itself and keeps theta to itself: :math:`y = s`,
    :math:`\partial y / \partial x = 1[0 \le x \le (T + 1/2)\,\theta] / \theta`. What follows then sees whole
    numbers only, and the level of a token drops out, as in a layer norm.

    In plain torch, but for one rounding (`BELOW_HALF` in `imlspike.ops.reference`)::

        theta = eight_bits((kappa * x.abs().mean(-1, keepdim=True)).clamp(min=eps))
        s = torch.floor(x / theta + 1/2).clamp(0, levels)
        y = theta * s

    The threshold is rounded to eight significant bits (a bfloat16): every multiple (k - 1/2) theta is then
    exact in fp32, which is why the binary spikes of `unfold` sum to s without exception.

    Args:
        levels: T, the largest count; ``levels=1`` is a binary neuron.
        threshold: what theta is taken over. ``token``: a token's channels; it sees no other, nor padding.
            ``channel``: the tokens of an utterance, for each channel. ``layer``: an utterance's tokens and
            channels. ``fixed``: the constant `value`. ``learned``: a trained scalar that starts at `value`.
            Models have defaults of their own; before convolutions over frames ``token`` becomes ``layer``.
        kappa: factor on the mean magnitude.
        value: the threshold of ``fixed``, the first threshold of ``learned``.
        eps: least threshold.
        detach: no gradient flows through the statistic (``token``, ``channel``, ``layer``). Otherwise
            dy/dtheta = s - x/theta inside the gate, T above, 0 below.
        amplitude: what a spike is worth: ``theta`` or ``unit``.
        signed: counts are -T to T, those of |x| with the sign of x, and the gradient passes where it would
            for |x|: ternary spikes, of which a negative one subtracts a weight. Ties go away from 0.
        window: up to where the gradient passes: ``half``, (T + 1/2) theta, as above; ``levels``, T theta.
        token_dim, channel_dims: the axes of tokens and of channels; all other axes are batch.

    Attributes:
        finer: steps a level in training, a power of two: 1, or what a network sets that lets the spikes in
            later. y = theta/f s with theta/f for theta and f T for T, near a ReLU cut off at T theta.

    Raises:
        ValueError: an unknown `threshold`, `amplitude` or `window`, or a number that is not positive.

    >>> IMLS(levels=6, threshold="fixed", value=1.0)(torch.tensor([[-1.0, 0.4, 0.5, 2.6, 9.0]]))
    tensor([[0., 0., 1., 3., 6.]])
    """

    finer = 1

    def __init__(
        self, levels: int = 6, threshold: str = "token", kappa: float = 0.45, value: float = 1.0,
        eps: float = 1e-5, detach: bool = True, amplitude: str = "theta", window: str = "half",
        signed: bool = False, token_dim: int = -2, channel_dims: tuple[int, ...] = (-1,),
    ):  # fmt: skip
        super().__init__()
        choices = (("threshold", threshold, THRESHOLDS), ("amplitude", amplitude, AMPLITUDES))
        for name, given, known in (*choices, ("window", window, WINDOWS)):
            if given not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {given!r}")
        if levels not in range(1, 2**15):
            raise ValueError(f"levels must be a whole number of 1 to 2^15 - 1, got {levels!r}")
        if not all(0 < each < float("inf") for each in (kappa, value, eps)):
            raise ValueError(f"kappa, value and eps must be positive, got {kappa}, {value}, {eps}")
        self.levels, self.threshold, self.kappa = int(levels), threshold, kappa
        self.value, self.eps, self.detach, self.amplitude = value, eps, detach, amplitude
        self.window, self.token_dim, self.channel_dims = window, token_dim, tuple(channel_dims)
        self.signed = bool(signed)
        self.unit, self.over_utterance = amplitude == "unit", threshold in ("channel", "layer")
        self.from_means = threshold == "layer"
        if threshold == "learned":
            self.log_value = nn.Parameter(torch.tensor(float(value)).log())

    def forward(self, x: Tensor, mask: Tensor | None = None, *, theta: Tensor | None = None) -> Tensor:
        """theta s, or s for the amplitude ``unit``, in x's shape and dtype; `mask` as in `theta`. Known
        thresholds `theta` are taken in place of those of `x`, as in `encode`."""
        theta = self.theta(x, mask) if theta is None else theta
        if self.signed:
            sign = _sign(x)
            return sign * self._fire(sign * x, theta)
        return self._fire(x, theta)

    def _fire(self, x: Tensor, theta: Tensor) -> Tensor:
        if self.window == "levels" and torch.is_grad_enabled():
            x = torch.minimum(x, (self.levels * theta).to(x))  # as many counts, and beyond no slope
        if self.training and self.finer > 1:
            y = ops.imls(x, theta / self.finer, self.levels * self.finer, not self.unit)[0]
            return y / self.finer if self.unit else y
        return ops.imls(x, theta, self.levels, not self.unit)[0]

    def theta(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The threshold of each element of `x`: positive, fp32 (fp64 for an fp64 `x`), broadcastable to it.

        Args:
            x: (..., N, C), or as `token_dim` and `channel_dims` say.
            mask: (B, N), B being axis 0 of `x`; True = a real token, False = padding, which ``channel`` and
                ``layer`` statistics leave out.
        """
        if self.threshold == "fixed":
            theta = torch.full((), max(self.value, self.eps), dtype=wide(x), device=x.device)
        elif self.threshold == "learned":
            theta = self.log_value.to(wide(x)).exp().clamp(min=self.eps)
        else:
            mean = self._mean_magnitude(widen(x.detach() if self.detach else x).abs(), mask)
            theta = (self.kappa * mean).clamp(min=self.eps)
        return ops.eight_bits(theta)

    def _mean_magnitude(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.threshold != "channel":
            # In evaluation in fp64, so that the order of the sum can't move theta (see `reproducible`).
            exact = None if self.training or x.device.type == "mps" else torch.float64
            x = x.mean(self.channel_dims, keepdim=True, dtype=exact).to(x.dtype)
        if self.threshold == "token":
            return x
        tokens: Tensor | int = x.shape[self.token_dim]
        if mask is not None:
            shape = [1] * x.dim()
            shape[0], shape[self.token_dim] = mask.shape
            mask = mask.reshape(shape)
            x, tokens = x.masked_fill(~mask, 0), mask.sum(self.token_dim, keepdim=True).clamp(min=1)
        # Summed over time in fp64 (which MPS lacks), so that the amount of padding can't move the last bit.
        exact = x.dtype if x.device.type == "mps" else torch.float64
        return (x.sum(self.token_dim, keepdim=True, dtype=exact) / tokens).to(x.dtype)

    def encode(self, x: Tensor, mask: Tensor | None = None, *, theta: Tensor | None = None) -> tuple:
        """The counts s, whole numbers 0..T (``signed``: -T..T) in x's shape and dtype, and theta; no grad.

        >>> IMLS(kappa=0.5).encode(torch.tensor([[2.0, -2.0, 6.0, 0.0]]))
        (tensor([[2., 0., 5., 0.]]), tensor([[1.2500]]))
        """
        with torch.no_grad():
            theta = self.theta(x, mask) if theta is None else theta
            sign = _sign(x) if self.signed else 1
            return sign * ops.imls(sign * x, theta, self.levels, False)[0], theta

    def cost(self, counts: Tensor, worth: Tensor) -> dict[str, int]:
        """Integrate-and-fire as in `unfold`, and, where the threshold follows the input, its statistic.

        ``signed``: with a comparison more for each level; `counts` are then magnitudes.
        """
        cost = super().cost(counts, worth)
        if self.signed:
            cost["additions"] += self.levels * counts.numel()
            cost["bitwise_additions"] += self.levels.bit_length() * counts.numel()
        if self.threshold not in ("fixed", "learned"):  # kappa * mean |x|
            cost["additions"] += counts.numel()
            cost["bitwise_additions"] += counts.numel()
            cost["multiplications"] += worth.numel()
        return cost

    @classmethod
    def for_steps(cls, steps: int, **conf) -> "IMLS":
        """`steps` is T, the levels."""
        return cls(**{"levels": steps, **conf})

    @classmethod
    def for_maps(cls, steps: int, **conf) -> "IMLS":
        """With ``layer`` for ``token``: theta factors out of a sum over frames only where these share it."""
        if conf.get("threshold", "token") == "token":
            conf["threshold"] = "layer"
        return cls.for_steps(steps, **{**conf, "token_dim": 1, "channel_dims": (2, 3)})

    def extra_repr(self) -> str:
        shown = ("levels", "threshold", "kappa", "amplitude")
        return ", ".join(f"{name}={getattr(self, name)}" for name in shown)


def _sign(x: Tensor) -> Tensor:
    """1 or -1 in x's dtype, 1 for 0, which has a gradient so."""
    return torch.where(x < 0, -1, 1).to(x.dtype)


def unfold(x: Tensor, theta: Tensor, levels: int, coding: str = "unary", signed: bool = False) -> Tensor:
    """The binary spikes that a neuromorphic chip fires for one multi-level spike, exactly, in every dtype.

    ``unary``: `levels` time steps. An integrate-and-fire neuron with soft reset starts at v = x + theta/2 and
    at each step fires b = 1[v >= theta], v -= theta b. Kept relative to the threshold (v - theta), each
    subtraction is exact, and the spikes sum to the counts of `IMLS.encode`.

    ``bitwise``: the count in binary, lowest bit first: ceil(log2(levels + 1)) slots whose spikes are worth 1,
    2, 4, ..., so that a sum of spikes is shifted once a slot. There are fewer of them: 2 for a count of 3.

    `signed`: of a neuron that is, spikes of -1, 0 and 1: those of -x taken from those of x.

    Input x (...) and thresholds theta as `IMLS.encode` has them -> zeros and ones (levels or slots, ...) in
    x's dtype. ValueError: an unknown `coding`.

    >>> unfold(torch.tensor([0.4, 0.5, 2.6]), torch.tensor(1.0), levels=3)
    tensor([[0., 1., 1.],
            [0., 0., 1.],
            [0., 0., 1.]])
    >>> unfold(torch.tensor([0.4, 0.5, 2.6]), torch.tensor(1.0), levels=3, coding="bitwise")
    tensor([[0., 1., 1.],
            [0., 0., 1.]])
    """
    if signed:
        return unfold(x, theta, levels, coding) - unfold(-x, theta, levels, coding)
    if coding not in CODINGS:
        raise ValueError(f"coding must be one of {', '.join(CODINGS)}, got {coding!r}")
    above = widen(x) - theta / 2
    spikes = []
    for _ in range(levels):
        spikes.append(above >= 0)
        above = above - theta * spikes[-1]
    fired = torch.stack(spikes)
    if coding == "bitwise":
        counts = fired.sum(0)
        fired = torch.stack([counts >> bit & 1 for bit in range(levels.bit_length())])
    return fired.to(x.dtype)
