"""Linear maps of spikes for training and inference on a CPU, by exact integer products."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Whole numbers of 16 bits are split into two signed bytes, high * 256 + low. The largest leaves room for the
# rounding of a quotient.
LARGEST = 127 * 256
# The spikes of a token whose gradient is 2 ** k times smaller than the largest one's weigh 2 ** (6 - k): with
# binary spikes these are bytes still.
OCTAVES = 6
# Fewer tokens aren't worth it. Low, so that a recording in pieces is decoded as it is in one.
LEAST_TOKENS = 32
# Over more, a sum of products of the backward pass could leave 32 bits.
MOST_TOKENS = 1 << 17
# Elements that a thread rounds at a time, so that all passes over them hit its cache.
_PIECE = 1 << 16


def spike_products_supported() -> bool:
    """Whether this machine has AMX, and torch the product of bytes that `SpikeLinear` needs.

    Without AMX the several products of bytes that stand for one were not tried.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_int8")) and hasattr(torch.ops.onednn, "qlinear_pointwise")


class SpikeLinear(nn.Linear):
    r"""`torch.nn.Linear` of binary spikes: the same parameters and the same map, faster.

    On a CPU with AMX, for fp32: the weights of an output channel o are rounded to whole multiples of
    :math:`\max_c |W_{oc}| / 32512` (16 bits), and the product is an exact sum of integers. So an output
    doesn't depend on the batch it is computed in, not by a bit.

    In the backward pass the gradient that arrives is rounded to 16 bits of the largest one of its token (of a
    token whose largest is less than 1/64 of all tokens' largest, to 16 bits of that 64th), the weights to 16
    bits as before but by input channel. Of normally distributed gradients, what comes out is off by less than
    2e-4 of its norm.

    Elsewhere, in other types, under autocast, when exporting, and for fewer than 32 tokens, it is
    `torch.nn.Linear`. Inputs that are no zeros and ones are not checked for: they would be cut to bytes.

    Args:
        in_features, out_features, bias: of `torch.nn.Linear`.

    Forward: spikes, zeros and ones (..., C_in) -> (..., C_out).

    >>> linear, spikes = SpikeLinear(32, 8), (torch.rand(2, 100, 32) < 0.2).float()
    >>> torch.allclose(linear(spikes), nn.functional.linear(spikes, linear.weight, linear.bias), atol=1e-4)
    True
    """

    def forward(self, spikes: Tensor) -> Tensor:
        """See the class."""
        if _worthwhile(spikes, self.weight):
            return _SpikeLinear.apply(spikes, self.weight, self.bias)
        return functional.linear(spikes, self.weight, self.bias)


def _worthwhile(spikes: Tensor, weight: Tensor) -> bool:
    """Whether integer products of these spikes (..., C_in) with this weight are to be taken."""
    tokens = spikes.numel() // max(1, spikes.shape[-1])
    return (
        spikes.device.type == "cpu"
        and spikes.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and 1 < min(weight.shape)
        and max(weight.shape) < MOST_TOKENS
        and LEAST_TOKENS <= tokens
        and (tokens < MOST_TOKENS or not torch.is_grad_enabled())
        and spike_products_supported()
    )


class _SpikeLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, spikes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        tokens = spikes.flatten(0, -2).to(torch.int8)
        ctx.save_for_backward(tokens, weight)
        return SpikeMap(weight)(tokens, bias).view(*spikes.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        tokens, weight = ctx.saved_tensors
        needs_spikes, needs_weight, needs_bias = ctx.needs_input_grad
        shape, grad = grad.shape[:-1], grad.flatten(0, -2).contiguous()
        rounded = RoundedTokens(grad)
        grad_spikes = GradientMap(weight)(rounded).view(*shape, -1) if needs_spikes else None
        grad_weight = None
        if needs_weight:
            grad_weight = torch.zeros_like(weight)
            rounded.add_weight_gradient(tokens, grad_weight)
        return grad_spikes, grad_weight, grad.sum(0) if needs_bias else None


class SpikeMap:
    """The map of spikes by `weight` (C_out, C_in): its weights as bytes, ready for any number of products.

    Call: tokens (K, C_in) int8 zeros and ones, and a bias (C_out) or None -> (K, C_out) fp32.

    >>> from imlspike.layers.spike_linear import SpikeMap, spike_products_supported
    >>> tokens, weight = torch.ones(32, 4, dtype=torch.int8), torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0] * 4])
    >>> SpikeMap(weight)(tokens, None)[0].tolist() if spike_products_supported() else [10.0, 4.0]
    [10.0, 4.0]
    """

    def __init__(self, weight: Tensor):
        whole, self._unit = _rounded(weight.t().contiguous())
        self._low, self._high = (plane.contiguous().to_mkldnn() for plane in _bytes(whole).unbind(-1))

    def __call__(self, tokens: Tensor, bias: Tensor | None) -> Tensor:
        y = _multiply(tokens, self._low, self._unit, bias=bias)
        return _multiply(tokens, self._high, 256 * self._unit, add_to=y)


class GradientMap:
    """What takes the gradient of a map's outputs to that of its inputs: `weight` (C_out, C_in) as bytes.

    Call: `RoundedTokens` of (K, C_out) -> (K, C_in) fp32.
    """

    def __init__(self, weight: Tensor):
        whole, self._unit = _rounded(weight)
        planes = _bytes(whole)  # (C_out, C_in, 2): low, high
        low, high = planes.unbind(-1)
        # A token's bytes are low, high, low, high. They meet 0, H for high H, and H, L for low H + high L.
        self._highs = torch.stack((torch.zeros_like(high), high), 1).flatten(0, 1).to_mkldnn()
        self._crossed = torch.stack((high, low), 1).flatten(0, 1).to_mkldnn()

    def __call__(self, rounded: "RoundedTokens") -> Tensor:
        y = _multiply(rounded.planes, self._highs, 65536 * self._unit)
        y = _multiply(rounded.planes, self._crossed, 256 * self._unit, add_to=y)
        return y.mul_(rounded.unit[:, None])


class RoundedTokens:
    """Gradients of tokens x (K, N) rounded to 16 bits: bytes (K, 2 N), and the unit (K) of each token.

    The unit of a token is the largest one / 2 ** octave, the octave a whole number from 0 to `OCTAVES`.
    """

    def __init__(self, x: Tensor):
        rows = max(1, _PIECE * torch.get_num_threads() // x.shape[1])
        largest = torch.cat([piece.abs().amax(1) for piece in x.split(rows)]).clamp_(min=1e-30)
        self.octave = (largest.max() / largest).log2_().floor_().clamp_(0, OCTAVES)
        self.unit = (largest.max() / LARGEST) * (-self.octave).exp2()
        whole, per_unit = torch.empty(x.shape, dtype=torch.int16), self.unit.reciprocal()[:, None]
        for piece, scale, to in zip(x.split(rows), per_unit.split(rows), whole.split(rows), strict=True):
            to.copy_(torch.mul(piece, scale).round_())
        self.planes = _bytes(whole).flatten(1)

    def add_weight_gradient(self, tokens: Tensor, to: Tensor) -> None:
        """Adds the products of these (K, C_out) with their spikes (K, C_in) int8 to `to` (C_out, C_in)."""
        weighed = tokens * (OCTAVES - self.octave).exp2_().to(torch.int8)[:, None]
        sums = torch._int_mm(self.planes.t(), weighed).float().unflatten(0, (-1, 2))
        unit = (self.unit.max() / 2**OCTAVES).item()
        to.add_(sums[:, 0], alpha=unit).add_(sums[:, 1], alpha=256 * unit)


def _rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (K, N) in 16-bit whole numbers, and the unit (N) of each column."""
    unit = (x.abs().amax(0) / LARGEST).clamp(min=1e-38)
    return (x / unit).round_().to(torch.int16), unit


def _bytes(whole: Tensor) -> Tensor:
    """16-bit whole numbers (...) as two signed bytes each, (..., 2): low, high; uses them up."""
    return whole.add_(128).bitwise_xor_(128).view(torch.int8).unflatten(-1, (-1, 2))


def _multiply(
    x: Tensor, y: Tensor, scale: Tensor, bias: Tensor | None = None, add_to: Tensor | None = None
) -> Tensor:
    """fp32 (x y) * scale + bias + add_to of bytes x (M, K) and y (K, N), an mkldnn one; uses `add_to` up."""
    zeros = torch.zeros(len(scale), dtype=torch.int64)
    if add_to is None:
        return torch.ops.onednn.qlinear_pointwise(
            x, 1.0, 0, y, scale, zeros, bias, 1.0, 0, torch.float32, "none", [], ""
        )
    return torch.ops.onednn.qlinear_pointwise.binary(
        x, 1.0, 0, y, scale, zeros, add_to, bias, 1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], ""
    )
