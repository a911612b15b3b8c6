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
        (low, high), unit = _rounded(weight.t().contiguous())
        y = _multiply(tokens, low, unit, bias=bias)
        y = _multiply(tokens, high, 256 * unit, add_to=y)
        ctx.save_for_backward(tokens, weight)
        return y.view(*spikes.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        tokens, weight = ctx.saved_tensors
        needs_spikes, needs_weight, needs_bias = ctx.needs_input_grad
        shape, grad = grad.shape[:-1], grad.flatten(0, -2).contiguous()
        planes, unit, octave = _rounded_tokens(grad)
        grad_spikes = grad_weight = None
        if needs_spikes:
            (low, high), column = _rounded(weight)
            grad_spikes = _multiply(planes[:, 1].contiguous(), high, 65536 * column)
            crossed = torch.cat((high, low))
            grad_spikes = _multiply(planes.flatten(1), crossed, 256 * column, add_to=grad_spikes)
            grad_spikes = grad_spikes.mul_(unit[:, None]).view(*shape, -1)
        if needs_weight:
            weighed = tokens * (OCTAVES - octave).exp2_().to(torch.int8)[:, None]
            low, high = torch._int_mm(planes.flatten(1).t(), weighed).float().chunk(2)
            grad_weight = high.mul_(256).add_(low).mul_(unit.max() / 2**OCTAVES)
        return grad_spikes, grad_weight, grad.sum(0) if needs_bias else None


def _rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (K, N) as bytes (2, K, N), low and high, and the unit (N) of each column."""
    unit = (x.abs().amax(0) / LARGEST).clamp(min=1e-38)
    planes = torch.empty(2, *x.shape, dtype=torch.int8)
    _split(x / unit, planes)
    return planes, unit


def _rounded_tokens(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x (K, N) as bytes (K, 2, N), low and high, the unit (K) of each row, and its octave (K).

    The unit of a row is the largest unit / 2 ** octave, the octave a whole number from 0 to `OCTAVES`.
    """
    rows = max(1, _PIECE * torch.get_num_threads() // x.shape[1])
    largest = torch.cat([piece.abs().amax(1) for piece in x.split(rows)]).clamp_(min=1e-30)
    octave = (largest.max() / largest).log2_().floor_().clamp_(0, OCTAVES)
    unit = (largest.max() / LARGEST) * (-octave).exp2()
    planes = torch.empty(len(x), 2, x.shape[1], dtype=torch.int8)
    for piece, units, bytes_ in zip(x.split(rows), unit.split(rows), planes.split(rows), strict=True):
        _split(piece / units[:, None], bytes_.unbind(1))
    return planes, unit, octave


def _split(x: Tensor, planes) -> None:
    """Fills the planes low and high with bytes, high * 256 + low = x rounded; uses x up."""
    low, high = planes
    upper = torch.add(x.round_(), 128).mul_(1 / 256).floor_()
    low.copy_(x.add_(upper, alpha=-256))
    high.copy_(upper)


def _multiply(
    x: Tensor, y: Tensor, scale: Tensor, bias: Tensor | None = None, add_to: Tensor | None = None
) -> Tensor:
    """The fp32 matrix (x y) * scale + bias + add_to of bytes x (M, K) and y (K, N); uses `add_to` up."""
    y, zeros = y.to_mkldnn(), torch.zeros(len(scale), dtype=torch.int64)
    if add_to is None:
        return torch.ops.onednn.qlinear_pointwise(
            x, 1.0, 0, y, scale, zeros, bias, 1.0, 0, torch.float32, "none", [], ""
        )
    return torch.ops.onednn.qlinear_pointwise.binary(
        x, 1.0, 0, y, scale, zeros, add_to, bias, 1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], ""
    )
