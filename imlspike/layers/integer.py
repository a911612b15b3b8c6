"""Linear maps and convolutions of spike counts in integer arithmetic, for inference on a CPU."""

import torch
from torch import Tensor, nn

from imlspike.neurons import IMLS

# The weights of a row are whole multiples of its largest magnitude / LARGEST; as hi * 256 + lo they fit two
# signed bytes.
LARGEST = 127 * 256 + 127


def integer_supported() -> bool:
    """Whether this machine multiplies bytes in hardware (AVX512-VNNI or AMX) and torch can use it.

    Elsewhere integer products would be slower than floating-point ones.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return hasattr(torch, "_int_mm") and bool(capabilities.get("avx512_vnni"))


class IntegerLinear(nn.Module):
    r"""A linear map of spike counts: :math:`y = s W^T + b` by integer products.

    Counts are small whole numbers, so nothing of the input is lost in a byte. The weights are rounded to
    sixteen bits, :math:`W_{oc} \approx a_o (256\,h_{oc} + l_{oc})` with signed bytes h and l and
    :math:`a_o = \max_c |W_{oc}| / 32639`, and both products are exact sums. What differs from the
    floating-point map is the rounding of the weights: at most :math:`a_o / 2` for each spike.

    Args:
        linear: the map to take over, on the CPU.
        levels: T, the largest count.

    Forward: s (K, C_in) int8 counts, at most T -> (K, C_out) in the dtype of the weights.

    Raises:
        ValueError: if C_in T is so large that a sum could leave 32 bits, T is above 127, or C_in is 1.

    >>> linear = nn.Linear(64, 8)
    >>> counts = torch.randint(0, 7, (5, 64))
    >>> integer = IntegerLinear(linear, levels=6)
    >>> torch.allclose(integer(counts.to(torch.int8)), linear(counts.float()), atol=1e-3)
    True
    """

    def __init__(self, linear: nn.Linear, levels: int):
        super().__init__()
        self.in_features, self.out_features, self.levels = linear.in_features, linear.out_features, levels
        if not fits(self.in_features, levels):
            raise ValueError(
                f"{self.in_features} inputs of up to {levels} spikes are one only or could overflow 32 bits; "
                "keep this map in floating point"
            )
        weight = linear.weight.detach()
        scale = weight.abs().amax(1).clamp(min=1e-30) / LARGEST
        whole = (weight.double() / scale[:, None]).round()
        high = ((whole + 128) / 256).floor()
        planes = torch.cat((high, whole - 256 * high)).to(torch.int8)
        bias = torch.zeros_like(scale) if linear.bias is None else linear.bias.detach().clone()
        for name, tensor in (("planes", planes), ("scale", scale), ("bias", bias)):
            self.register_buffer(name, tensor)

    def forward(self, counts: Tensor) -> Tensor:
        """See the class."""
        high, low = torch._int_mm(counts, self.planes.t()).tensor_split(2, 1)
        sums = torch.add(low, high, alpha=256).to(self.scale.dtype)
        return torch.addcmul(self.bias, sums, self.scale)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, levels={self.levels}"


class IntegerConv2d(IntegerLinear):
    """`IntegerLinear` under a sliding window: a convolution of spike counts without padding.

    Args:
        conv: the convolution to take over: square kernel, no padding, groups or dilation.
        levels: T, the largest count.

    Forward: s (B, L, F, C_in) int8 counts -> (B, L', F', C_out).

    Raises:
        ValueError: as `IntegerLinear`, or on another kind of convolution.

    >>> conv = nn.Conv2d(16, 4, 3, 2)
    >>> counts = torch.randint(0, 7, (1, 9, 7, 16))
    >>> expected = conv(counts.float().permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    >>> torch.allclose(IntegerConv2d(conv, levels=6)(counts.to(torch.int8)), expected, atol=1e-3)
    True
    """

    def __init__(self, conv: nn.Conv2d, levels: int):
        kernel, stride = conv.kernel_size, conv.stride
        if (
            kernel[0] != kernel[1]
            or stride[0] != stride[1]
            or conv.groups != 1
            or conv.padding != (0, 0)
            or conv.dilation != (1, 1)
        ):
            raise ValueError(f"expected a square kernel without padding, groups or dilation, got {conv}")
        window = nn.Linear(conv.in_channels * kernel[0] * kernel[1], conv.out_channels)
        # The window lies in memory as rows, columns, channels: so a copy of it is a copy of long runs.
        window.weight = nn.Parameter(conv.weight.detach().permute(0, 2, 3, 1).flatten(1))
        window.bias = conv.bias
        super().__init__(window, levels)
        self.in_channels, self.kernel, self.stride = conv.in_channels, kernel[0], stride[0]

    def forward(self, counts: Tensor) -> Tensor:
        """See the class."""
        windows = counts.unfold(1, self.kernel, self.stride).unfold(2, self.kernel, self.stride)
        windows = windows.permute(0, 1, 2, 4, 5, 3)
        flat = windows.reshape(-1, self.in_features)
        return super().forward(flat).unflatten(0, windows.shape[:3])


def fits(inputs: int, levels: int) -> bool:
    """Whether sums over so many inputs of up to `levels` spikes stay within 32 bits.

    >>> fits(2048, 6), fits(65536, 6)
    (True, False)
    """
    # Of a single input torch 2.11 makes wrong products.
    return inputs > 1 and levels <= 127 and inputs * levels * LARGEST < 2**31


def use_integers(neuron: IMLS, owner: nn.Module, *names: str) -> bool:
    """Replaces folded maps of `owner`, which `neuron` feeds, by integer ones, and has it fire bytes.

    Nothing is changed, and False returned, where spikes aren't worth 1 or sums could leave 32 bits.

    >>> from imlspike.neurons import IMLS
    >>> network, neuron = nn.Sequential(nn.Linear(8, 2)), IMLS(amplitude="unit")
    >>> use_integers(neuron, network, "0"), network[0]
    (True, IntegerLinear(8, 2, levels=6))
    """
    maps = [getattr(owner, name) for name in names]
    inputs = (each.weight[0].numel() for each in maps)
    if neuron.amplitude != "unit" or not all(fits(count, neuron.levels) for count in inputs):
        return False
    for name, each in zip(names, maps, strict=True):
        kind = IntegerConv2d if isinstance(each, nn.Conv2d) else IntegerLinear
        setattr(owner, name, kind(each, neuron.levels))
    neuron.count_dtype = torch.int8
    return True
