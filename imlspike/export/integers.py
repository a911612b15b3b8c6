"""Maps that read spikes in integers: spikes as uint8, weights as int8 with a scale for each output channel.

Spikes are whole numbers already, so nothing has to be calibrated, and the sums are exact. What reads real
values (the first convolution, queries in the attention, the CTC head) stays fp32.
"""

import torch
from torch import Tensor, nn

from imlspike.layers import RepConv, RepSSA, SpikingFeedForward, SpikingSubsampling
from imlspike.neurons import IMLS

MOST_SPIKES = 255  # of a neuron, in uint8


@torch.library.custom_op("imlspike_export::spikes", mutates_args=())
def spikes(x: Tensor, theta: Tensor, levels: int) -> Tensor:
    """Counts (uint8): x / theta rounded, ties to the even number as in ONNX, from 0 to `levels`."""
    return (x / theta).round().clamp(0, levels).to(torch.uint8)


@torch.library.custom_op("imlspike_export::integer_product", mutates_args=())
def integer_product(counts: Tensor, weight: Tensor) -> Tensor:
    """(..., C_in) uint8 @ (C_in, C_out) int8 -> int32."""
    return (counts.double() @ weight.double()).int()


spikes.register_fake(lambda x, theta, levels: x.new_empty(x.shape, dtype=torch.uint8))
integer_product.register_fake(
    lambda counts, weight: counts.new_empty((*counts.shape[:-1], weight.shape[1]), dtype=torch.int32)
)


class Spikes(nn.Module):
    """A neuron whose counts come out as uint8.

    Raises:
        ValueError: where there are no counts, more than 255, or they are worth thresholds.
    """

    def __init__(self, neuron: nn.Module):
        super().__init__()
        levels = getattr(neuron, "levels", None)
        if not levels or levels > MOST_SPIKES or not neuron.unit:
            told = type(neuron).__name__.lower()
            raise ValueError(
                f"int8: neurons must send whole numbers up to {MOST_SPIKES} (amplitude: unit); {told} here "
                f"has levels {levels}; export in fp32"
            )
        self.neuron, self.levels, self.unit = neuron, levels, True
        self.over_utterance = neuron.over_utterance

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if not isinstance(self.neuron, IMLS):
            return self.neuron(x, mask).to(torch.uint8)
        theta = self.neuron.theta(x, mask)
        if theta.dim():
            return spikes(x / theta, x.new_ones(()), self.levels)
        return spikes(x, theta, self.levels)


def _scaled(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 weights (C_out, ...), and the scale (C_out,) of each output channel."""
    scale = weight.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
    shape = (-1, *[1] * (weight.dim() - 1))
    return (weight / scale.view(shape)).round().to(torch.int8), scale


class IntegerLinear(nn.Module):
    """A linear map of counts (..., C_in) uint8 -> (..., C_out) fp32."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight, scale = _scaled(linear.weight.detach())
        self.register_buffer("weight", weight.T.contiguous())
        self.register_buffer("scale", scale)
        self.register_buffer("bias", linear.bias.detach())

    def forward(self, counts: Tensor) -> Tensor:
        return integer_product(counts, self.weight).float() * self.scale + self.bias


class IntegerConv(nn.Module):
    """A convolution over counts (B, C_in, L, F) uint8, channels last in memory -> (B, C_out, L', F') fp32.

    What a window sees is laid side by side and multiplied in one product: onnxruntime's ConvInteger takes
    thirty times as long.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.kernel, self.stride, self.in_channels = conv.kernel_size, conv.stride, conv.in_channels
        maps = zip(
            conv.weight.detach().chunk(conv.groups), conv.bias.detach().chunk(conv.groups), strict=True
        )
        self.groups = nn.ModuleList()
        self.register_buffer("weight", torch.empty(0, dtype=torch.uint8))  # tells the stage its input's dtype
        for weight, bias in maps:
            linear = nn.Linear(weight[0].numel(), len(weight))
            linear.weight.data, linear.bias.data = weight.permute(0, 2, 3, 1).flatten(1), bias
            self.groups.append(IntegerLinear(linear))

    def forward(self, counts: Tensor) -> Tensor:
        counts = counts.permute(0, 2, 3, 1)
        places = [
            (size - kernel) // stride + 1
            for size, kernel, stride in zip(counts.shape[1:3], self.kernel, self.stride, strict=True)
        ]
        (down, across), (rows, columns) = self.stride, places
        seen = [
            counts[:, i : i + down * (rows - 1) + 1 : down, j : j + across * (columns - 1) + 1 : across]
            for i in range(self.kernel[0])
            for j in range(self.kernel[1])
        ]
        by_group = zip(*(each.chunk(len(self.groups), -1) for each in seen), strict=True)
        parts = [linear(torch.cat(each, -1)) for linear, each in zip(self.groups, by_group, strict=True)]
        return torch.cat(parts, -1).permute(0, 3, 1, 2)


class OfFloats(nn.Module):
    """A module that is given counts and wants them as floats."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, counts: Tensor) -> Tensor:
        return self.module(counts.float())


def to_integers(encoder: nn.Module) -> nn.Module:
    """Have the maps of a folded IML-Spikeformer that read spikes work in integers, in place.

    Raises:
        ValueError: naming what can't, see `Spikes`.
    """
    for layer in list(encoder.modules()):
        if isinstance(layer, RepSSA):
            _map_spikes(layer, ("neuron", "o_neuron"), ("q", "k", "v", "o"))
        elif isinstance(layer, SpikingFeedForward):
            _map_spikes(layer, ("neuron", "hidden_neuron"), ("expand", "project"))
        elif isinstance(layer, SpikingSubsampling) and layer.stages:
            layer.linear = IntegerLinear(layer.linear)
            for number, stage in enumerate(layer.stages):
                stage.neuron = Spikes(stage.neuron)
                if number:
                    stage.conv = IntegerConv(stage.conv)
    return encoder


def _map_spikes(layer: nn.Module, neurons: tuple[str, ...], maps: tuple[str, ...]) -> None:
    for name in neurons:
        setattr(layer, name, Spikes(getattr(layer, name)))
    for name in maps:
        linear = getattr(layer, name)
        if isinstance(linear, RepConv):
            linear.linear, linear.conv.conv = IntegerLinear(linear.linear), OfFloats(linear.conv.conv)
        else:
            setattr(layer, name, IntegerLinear(linear))
