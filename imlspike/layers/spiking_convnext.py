"""The ConvNeXt block of Vocos, and the spiking one of Spiking Vocos: the same code, its neurons on or off."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from imlspike.layers.depthwise import DepthwiseConv
from imlspike.layers.temporal_shift import TemporalShift

SHORTCUTS = ("abs", "signed", "off")


class SpikingConvNeXtBlock(nn.Module):
    r"""Depthwise convolution, then two pointwise ones that spikes feed (Spiking Vocos, figure 1b and eq. 4).

    ::

        r = shift(x)                            equations 13 and 14; r = x without
        z = LayerNorm(depthwise convolution of r over frames)
        o = pointwise_2(neuron_2(GELU(pointwise_1(neuron_1(z)))))
        y = x + gamma * |z| * o                 equation 4; the residual is the input before the shift

    Z_in of equation 4 is taken to be what enters the first neuron. ``signed`` multiplies by z itself, ``off``
    by nothing. Without neurons, shift and shortcut this is the ConvNeXt block of Vocos.

    Args:
        dim: C.
        intermediate_dim: channels between the pointwise convolutions.
        neuron: makes a neuron that takes (T, B, L, channels); called twice. None: no neurons.
        steps: T that the first neuron sees; 1 without neurons and with ones that spike many times at once.
        layer_scale: what gamma, one factor a channel, starts from.
        amplitude_shortcut: ``abs``, ``signed`` or ``off``.
        temporal_shift: a `TemporalShift`, or None.
        kernel: frames under the depthwise convolution, odd.

    Forward:
        x: (T, B, L, C), or (1, B, L, C) where all time steps are alike: the convolution then runs once.

    Returns:
        y (T, B, L, C), and r, what the convolution read, in the shape of x or of y.

    Raises:
        ValueError: on an unknown shortcut or an even kernel.

    >>> from imlspike.neurons import PLIF
    >>> block = SpikingConvNeXtBlock(8, 24, PLIF, steps=4)
    >>> y, read = block(torch.randn(1, 2, 10, 8))
    >>> y.shape, read.shape
    (torch.Size([4, 2, 10, 8]), torch.Size([1, 2, 10, 8]))
    """

    def __init__(
        self,
        dim: int,
        intermediate_dim: int,
        neuron: Callable[[], nn.Module] | None = None,
        steps: int = 1,
        layer_scale: float = 1.0,
        amplitude_shortcut: str = "abs",
        temporal_shift: TemporalShift | None = None,
        kernel: int = 7,
    ):
        super().__init__()
        if amplitude_shortcut not in SHORTCUTS:
            raise ValueError(
                f"amplitude_shortcut must be one of {', '.join(SHORTCUTS)}, got {amplitude_shortcut!r}"
            )
        self.steps, self.amplitude_shortcut = steps, amplitude_shortcut
        self.temporal_shift = temporal_shift
        self.dwconv = DepthwiseConv(dim, kernel)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.neuron1 = neuron() if neuron else nn.Identity()
        self.pwconv1 = nn.Linear(dim, intermediate_dim)
        self.act = nn.GELU()
        self.neuron2 = neuron() if neuron else nn.Identity()
        self.pwconv2 = nn.Linear(intermediate_dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), float(layer_scale)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        read = x
        if self.temporal_shift is not None:
            read = self.temporal_shift(x.expand(self.steps, *x.shape[1:]))
        # In the dtype of the norm, so that autocast rounds products only.
        z = self.norm(self.dwconv(read).to(self.norm.weight.dtype))
        out = self.pwconv1(self.neuron1(z.expand(self.steps, *z.shape[1:])))
        out = self.pwconv2(self.neuron2(self.act(out)))
        if self.amplitude_shortcut != "off":
            out = out * (z.abs() if self.amplitude_shortcut == "abs" else z)
        return x + self.gamma * out, read

    def extra_repr(self) -> str:
        return f"steps={self.steps}, amplitude_shortcut={self.amplitude_shortcut}"
