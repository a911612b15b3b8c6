"""Linear maps of spikes for training and inference on a CPU, by exact integer products."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from imlspike.neurons.kernels import multiply, pack_weights, products_serve, round_rows
from imlspike.neurons.library import loops_serve

# Whole numbers of 16 bits are split into two signed bytes, high * 256 + low. The largest leaves room for the
# rounding of a quotient.
LARGEST = 127 * 256
# In the gradient of the weights the spikes of a token whose unit is 2 ** k times smaller than the largest
# weigh 2 ** (6 - k): with binary spikes these are bytes still.
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

    In the backward pass the gradient that arrives is rounded to 15 to 16 bits of the largest one of its token
    (for the gradient of the weights, that of a token whose largest is less than 1/64 of all tokens' largest,
    to as many bits of that 64th), the weights to 16 bits as before but by input channel. Of normally
    distributed gradients, what comes out is off by less than 2e-4 of its norm.

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
        planes, unit = round_tokens(grad)
        grad_spikes = GradientMap(weight)(planes, unit).view(*shape, -1) if needs_spikes else None
        grad_weight = weight_gradient(planes, unit, tokens) if needs_weight else None
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
        if products_serve():
            self._packed = pack_weights(weight, 1, LARGEST)
            return
        whole, self._unit = _rounded(weight, 1)
        self._low, self._high = (plane.to_mkldnn() for plane in _bytes(whole.t().contiguous()))

    def __call__(self, tokens: Tensor, bias: Tensor | None) -> Tensor:
        if products_serve():
            return multiply(tokens, self._packed, bias)
        y = _multiply(tokens, self._low, self._unit, bias=bias)
        return _multiply(tokens, self._high, 256 * self._unit, add_to=y)


class GradientMap:
    """What takes the gradient of a map's outputs to that of its inputs: `weight` (C_out, C_in) as bytes.

    Call: planes (K, 2 C_out) and units (K) of `round_tokens` -> (K, C_in) fp32.
    """

    def __init__(self, weight: Tensor):
        if products_serve():
            self._packed = pack_weights(weight, 0, LARGEST)
            return
        whole, self._unit = _rounded(weight, 0)
        low, high = _bytes(whole)
        # A token's low bytes meet 0, H for high H, and H, L for low H + high L.
        self._highs = torch.cat((torch.zeros_like(high), high)).to_mkldnn()
        self._crossed = torch.cat((high, low)).to_mkldnn()

    def __call__(self, planes: Tensor, unit: Tensor) -> Tensor:
        if products_serve():
            return multiply(planes, self._packed, units=unit)
        y = _multiply(planes, self._highs, 65536 * self._unit)
        return _multiply(planes, self._crossed, 256 * self._unit, add_to=y).mul_(unit[:, None])


def round_tokens(x: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Tokens x (K, N) rounded to whole multiples of a unit each, a power of two: to 15 bits and a sign.

    Args:
        x: fp32.
        out: int8 (K, 2 N) in which the bytes are kept, if there is one already.

    Returns:
        planes (K, 2 N) int8: each token's low bytes, then its high ones, for high * 256 + low; and the units
        (K).
    """
    if x.is_contiguous() and loops_serve(x):
        return round_rows(x, LARGEST, out)
    rows = max(1, _PIECE * torch.get_num_threads() // x.shape[1])
    out = torch.empty(len(x), 2 * x.shape[1], dtype=torch.int8) if out is None else out
    units = []
    for piece, planes in zip(x.split(rows), out.split(rows), strict=True):
        largest = torch.maximum(piece.amax(1), -piece.amin(1)).clamp_(min=1e-30)
        units.append((largest / LARGEST).log2_().ceil_().exp2_())
        whole = torch.mul(piece, units[-1].reciprocal()[:, None]).round_().to(torch.int16)
        torch.cat(_bytes(whole), 1, out=planes)
    return out, torch.cat(units)


def weight_gradient(planes: Tensor, unit: Tensor, tokens: Tensor) -> Tensor:
    """(C_out, C_in) from planes and units of `round_tokens` and their spikes (K, C_in) int8."""
    octave = (unit.max() / unit).log2_().round_()
    far = ((octave > OCTAVES) & (octave < OCTAVES + 16)).nonzero()[:, 0]
    if len(far):
        low, high = planes[far].chunk(2, 1)
        coarser = ((high * 256.0 + low) * (OCTAVES - octave[far]).exp2_()[:, None]).round_()
        planes = planes.clone()
        planes[far] = torch.cat(_bytes(coarser.to(torch.int16)), 1)
    share = (OCTAVES - octave.clamp(max=OCTAVES)).exp2_().mul_(octave < OCTAVES + 16)
    low, high = torch._int_mm(planes.t(), tokens * share.to(torch.int8)[:, None]).chunk(2)
    return low.float().add_(high.float(), alpha=256).mul_(unit.max() / 2**OCTAVES)


def _rounded(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """x (K, N) in 16-bit whole numbers, and the unit of each column (dim 0) or row (dim 1), a vector."""
    unit = (x.abs().amax(dim, keepdim=True) / LARGEST).clamp(min=1e-38)
    return (x / unit).round_().to(torch.int16), unit.flatten()


def _bytes(whole: Tensor) -> tuple[Tensor, Tensor]:
    """16-bit whole numbers as two tensors of signed bytes, low and high, for high * 256 + low."""
    return whole.to(torch.int8), ((whole + 128) >> 8).to(torch.int8)


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
