"""IMLS: the input-aware multi-level spiking neuron, and its unfolding into binary spikes.

IML-Spikeformer (arXiv 2507.07396) simulates several time steps of spiking in one: a neuron fires an integer
number of spikes at once, against a threshold that depends on its input. The paper's equations could not be
obtained; the formulation below is this project's own (see the README).
"""

import math

import torch
from torch import Tensor, nn

from . import imls_loops

THRESHOLDS = ("token", "channel", "layer", "fixed", "learned")
AMPLITUDES = ("theta", "unit")

# The largest fp32 (fp64) number below 1/2. floor(r + this) rounds r to the nearest integer, ties up, without
# the one error of floor(r + 0.5): r = 1/2 - 2^-25, which rounds up to 1 before the floor is taken.
_BELOW_HALF = {torch.float32: 0.5 - 2.0**-25, torch.float64: 0.5 - 2.0**-54}


def _wide(x: Tensor) -> Tensor:
    """x in a dtype in which every (k - 1/2) theta is exact: at least fp32."""
    return x if x.dtype in _BELOW_HALF else x.float()


# On a CPU a neuron is worked off in pieces of so many elements a thread: all passes over one hit the cache.
_PIECE = 1 << 18


def _piece() -> int:
    return _PIECE * torch.get_num_threads()


def _pieces(*tensors: Tensor):
    """The tensors (of one shape) cut alike into pieces, as views: an iterable of tuples."""
    shape, elements = tensors[0].shape, tensors[0].numel()
    if elements <= _piece() or tensors[0].device.type != "cpu":
        yield tensors
        return
    dim = next(dim for dim, size in enumerate(shape) if size > 1)
    rows = max(1, _piece() * shape[dim] // elements)
    for cut in zip(*(tensor.split(rows, dim) for tensor in tensors), strict=True):
        yield from _pieces(*cut)


def _count(
    x: Tensor, theta: Tensor, levels: int, scaled: bool = False, dtype: torch.dtype | None = None
) -> Tensor:
    """s, or theta s; in another dtype than that of x if one is given."""
    counts = torch.empty_like(x, dtype=dtype)
    for x_, theta_, counts_ in _pieces(x, theta.expand_as(x), counts):
        fired = counts_ if counts.dtype == x.dtype else torch.empty_like(x_)
        torch.div(x_, theta_, out=fired).add_(_BELOW_HALF[x.dtype]).floor_().clamp_(0, levels)
        if scaled:
            fired.mul_(theta_)
        if fired is not counts_:
            counts_.copy_(fired)
    return counts


def _total(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Sum of |x| over `dims`, which are kept."""
    if x.requires_grad:
        return torch.linalg.vector_norm(x, 1, dims, keepdim=True)
    if x.device.type != "cpu" or x.numel() <= _piece():
        return x.abs().sum(dims, keepdim=True)
    summed = {dim % x.dim() for dim in dims}
    dim = next((dim for dim, size in enumerate(x.shape) if size > 1 and dim not in summed), None)
    if dim is None:
        return torch.linalg.vector_norm(x, 1, dims, keepdim=True)
    rows = max(1, _piece() * x.shape[dim] // x.numel())
    return torch.cat([_total(piece, dims) for piece in x.split(rows, dim)], dim)


class _Fire(torch.autograd.Function):
    """y = theta s, or s, for s = clip(floor(x / theta + 1/2), 0, T), with straight-through gradients."""

    @staticmethod
    def forward(ctx, x: Tensor, theta: Tensor, levels: int, scaled: bool) -> Tensor:
        ctx.scaled, ctx.loops = scaled, not ctx.needs_input_grad[1] and imls_loops.serve(x, theta)
        if ctx.loops:
            y, open_gate = imls_loops.fire(x, theta, levels, scaled)
            ctx.save_for_backward(open_gate, theta)
            return y
        wide = _wide(x)
        open_gate = torch.empty_like(wide, dtype=torch.bool)
        for x_, top_, gate_ in _pieces(wide, ((levels + 0.5) * theta).expand_as(wide), open_gate):
            torch.ge(x_, 0, out=gate_).bitwise_and_(x_ <= top_)
        if ctx.needs_input_grad[1]:
            # d(theta s)/dtheta: s - x/theta where the gate is open (s follows x/theta), T above it, 0 below.
            # ds/dtheta: -x/theta^2 where the gate is open.
            slope = torch.where(open_gate, -wide / theta, 0)
            slope = slope + _count(wide, theta, levels) if scaled else slope / theta
            ctx.save_for_backward(open_gate, theta, slope)
        else:
            ctx.save_for_backward(open_gate, theta)
        return _count(wide, theta, levels, scaled).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):
        open_gate, theta, *slope = ctx.saved_tensors
        if ctx.loops:
            return imls_loops.back(grad.contiguous(), theta, open_gate, ctx.scaled), None, None, None
        grad_theta = (grad * slope[0]).sum_to_size(theta.shape).to(theta.dtype) if slope else None
        grad_x = grad * open_gate
        return (grad_x if ctx.scaled else grad_x.div_(theta)), grad_theta, None, None


class IMLS(nn.Module):
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

    The threshold is rounded to eight significant bits (a bfloat16): every multiple (k - 1/2) theta is then
    exact in fp32, which is why the binary spikes of `unfold` sum to s without exception.

    Args:
        levels: T, the largest count; ``levels=1`` is a binary neuron.
        threshold: what theta is taken over. ``token``: one per token, the mean over its channels; no token
            sees another, nor padding. ``channel``: one per utterance and channel, the mean over its tokens.
            ``layer``: one per utterance, the mean over tokens and channels. ``fixed``: the constant `value`.
            ``learned``: a trained scalar that starts at `value`.
        kappa: factor on the mean magnitude.
        value: the threshold of ``fixed``, the first threshold of ``learned``.
        eps: least threshold.
        amplitude: what a spike is worth: ``theta`` or ``unit``.
        detach: no gradient flows through the statistic (``token``, ``channel``, ``layer``). With
            ``detach=False`` dy/dtheta = s - x/theta inside the gate, T above, 0 below.
        token_dim: the axis of tokens.
        channel_dims: the axes of channels; all other axes are batch.

    Attributes:
        count_dtype: None, or the dtype in which ``unit`` spikes leave the neuron where no gradient is taken,
            such as ``torch.int8``.

    Raises:
        ValueError: on an unknown `threshold` or `amplitude`, `levels` < 1, or `kappa`, `value`, `eps` not
        positive.

    >>> neuron = IMLS(levels=6, threshold="fixed", value=1.0)
    >>> neuron(torch.tensor([[-1.0, 0.4, 0.5, 2.6, 9.0]]))
    tensor([[0., 0., 1., 3., 6.]])
    """

    def __init__(
        self,
        levels: int = 6,
        threshold: str = "token",
        kappa: float = 0.45,
        value: float = 1.0,
        eps: float = 1e-5,
        detach: bool = True,
        amplitude: str = "theta",
        token_dim: int = -2,
        channel_dims: tuple[int, ...] = (-1,),
    ):
        super().__init__()
        if threshold not in THRESHOLDS:
            raise ValueError(f"threshold must be one of {', '.join(THRESHOLDS)}, got {threshold!r}")
        if amplitude not in AMPLITUDES:
            raise ValueError(f"amplitude must be one of {', '.join(AMPLITUDES)}, got {amplitude!r}")
        if levels < 1 or levels != int(levels):
            raise ValueError(f"levels must be a whole number of at least 1, got {levels}")
        if min(kappa, value, eps) <= 0:
            raise ValueError(f"kappa, value and eps must be positive, got {kappa}, {value}, {eps}")
        self.levels, self.threshold, self.kappa = int(levels), threshold, kappa
        self.value, self.eps, self.detach, self.amplitude = value, eps, detach, amplitude
        self.token_dim, self.channel_dims = token_dim, tuple(channel_dims)
        self.count_dtype: torch.dtype | None = None
        if threshold == "learned":
            self.log_value = nn.Parameter(torch.tensor(float(value)).log())

    def theta(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The threshold of each element of `x`, in a shape that broadcasts against it.

        Args:
            x: (..., N, C), or as `token_dim` and `channel_dims` say.
            mask: (B, N), True = a real token, False = padding; left out of ``channel`` and ``layer``
                statistics. B is axis 0 of `x`.

        Returns:
            positive thresholds, fp32 (fp64 for an fp64 `x`).
        """
        wide = _wide(x)
        if self.threshold == "fixed":
            theta = wide.new_tensor(max(self.value, self.eps))
        elif self.threshold == "learned":
            theta = self.log_value.to(wide.dtype).exp().clamp(min=self.eps)
        else:
            mean = self._mean_magnitude(wide.detach() if self.detach else wide, mask)
            theta = (self.kappa * mean).clamp(min=self.eps).to(wide.dtype)
        rounded = theta.detach().bfloat16().to(theta.dtype)
        if not theta.requires_grad:
            return rounded
        # Straight-through: the value of the rounded threshold, the gradient of the unrounded one.
        return theta + (rounded - theta.detach())

    def _mean_magnitude(self, x: Tensor, mask: Tensor | None) -> Tensor:
        dims = (self.token_dim,) if self.threshold == "channel" else self.channel_dims
        elements = math.prod(x.shape[dim] for dim in dims)
        if self.threshold == "token":
            return _total(x, dims) / elements
        # Sums over time are taken in fp64, so that the amount of padding cannot move the last bit.
        if self.threshold == "layer":
            x = _total(x, dims) / elements
            elements = x.shape[self.token_dim]
        if mask is not None:
            shape = [1] * x.dim()
            shape[0], shape[self.token_dim] = mask.shape
            mask = mask.reshape(shape)
            x = x * mask
            elements = mask.sum(self.token_dim, keepdim=True).clamp(min=1)
        return torch.linalg.vector_norm(x, 1, self.token_dim, keepdim=True, dtype=torch.float64) / elements

    def encode(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The counts s, integers 0..T in x's shape and dtype, and the thresholds theta; no gradient.

        >>> counts, theta = IMLS(kappa=0.5).encode(torch.tensor([[2.0, -2.0, 6.0, 0.0]]))
        >>> counts, theta
        (tensor([[2., 0., 5., 0.]]), tensor([[1.2500]]))
        """
        with torch.no_grad():
            theta = self.theta(x, mask)
            return _count(_wide(x), theta, self.levels).to(x.dtype), theta

    def fire(self, x: Tensor, theta: Tensor) -> Tensor:
        """The output for thresholds that are known already (from `theta`), in pieces of a recording say."""
        scaled = self.amplitude == "theta"
        if not torch.is_grad_enabled():
            if self.count_dtype is None and imls_loops.serve(x, theta):
                return imls_loops.fire(x, theta, self.levels, scaled)[0]
            dtype = self.count_dtype or x.dtype
            return _count(_wide(x), theta, self.levels, scaled, dtype=self.count_dtype).to(dtype)
        return _Fire.apply(x, theta, self.levels, scaled)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """theta s, or s for the amplitude ``unit``, in the shape and dtype of `x`; `mask` as in `theta`."""
        return self.fire(x, self.theta(x, mask))

    def extra_repr(self) -> str:
        shown = ("levels", "threshold", "kappa", "amplitude")
        return ", ".join(f"{name}={getattr(self, name)}" for name in shown)


def unfold(x: Tensor, theta: Tensor, levels: int) -> Tensor:
    """The binary spikes that a neuromorphic chip fires in `levels` time steps for one multi-level spike.

    An integrate-and-fire neuron with soft reset that starts at v = x + theta/2 and at each step fires b = 1[v
    >= theta], v -= theta b. The potential is kept relative to the threshold (v - theta), in which form each
    subtraction is exact, so that the spikes sum to the counts of `IMLS.encode` exactly, for fp32, fp64, bf16
    and fp16 inputs.

    Args:
        x: input of the neuron, any shape.
        theta: thresholds as `IMLS.encode` returns them, broadcastable to `x`.
        levels: T, the number of time steps.

    Returns:
        (levels, *x.shape), zeros and ones in x's dtype.

    >>> unfold(torch.tensor([0.4, 0.5, 2.6]), torch.tensor(1.0), levels=3)
    tensor([[0., 1., 1.],
            [0., 0., 1.],
            [0., 0., 1.]])
    """
    above = _wide(x) - theta / 2
    spikes = []
    for _ in range(levels):
        fired = above >= 0
        spikes.append(fired.to(x.dtype))
        above = above - theta * fired
    return torch.stack(spikes)
