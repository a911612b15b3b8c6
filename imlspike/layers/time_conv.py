"""A depthwise convolution over time that is driven by spikes."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from imlspike.layers.layout import Layout
from imlspike.layers.norm import MaskedBatchNorm
from imlspike.layers.rep_conv import TimeConv
from imlspike.layers.rep_ssa import fire
from imlspike.neurons import IMLS

WHOLE = partial(IMLS, amplitude="unit")


class SpikingTimeConv(TimeConv):
    r"""BN -> IMLS -> depthwise convolution over tokens -> BN: the order of neighbours, which a decay cannot
    tell.

    :math:`y_{ic} = \mathrm{BN}(\sum_j w_{jc}\, s_{i+j,c})` with whole spike counts s, so that no threshold
    has to pass through the sum over time. Not in the paper; spiking vision Transformers have such
    convolutions (Spike-driven Transformer V2), as has the Conformer.

    Args:
        channels: C.
        kernel: tokens under the kernel, odd.
        causal: the kernel sees the token and those before it; otherwise as many on either side.
        gain: what the scale of the last batch norm starts from.
        neuron: makes a neuron that takes tokens (..., C) and whose spikes are worth 1.

    Forward: x (K, C) packed tokens and their `Layout` -> (K, C). Beyond an utterance's ends there are no
    spikes.

    Raises:
        ValueError: if `kernel` is even or below 1, or the neuron's spikes are worth a threshold.

    >>> import torch
    >>> SpikingTimeConv(8, kernel=3)(torch.randn(8, 8), Layout(torch.tensor([5, 3]), 5)).shape
    torch.Size([8, 8])
    """

    def __init__(
        self,
        channels: int,
        kernel: int = 15,
        causal: bool = False,
        gain: float = 1.0,
        neuron: Callable[[], nn.Module] = WHOLE,
    ):
        super().__init__(channels, kernel, causal, gain)
        self.norm, self.neuron = MaskedBatchNorm(channels), neuron()
        if not getattr(self.neuron, "unit", True):
            raise ValueError("a convolution over time needs spikes worth 1: it would sum those of thresholds")

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return super().forward(fire(self.neuron, self.norm(x), layout), layout)
