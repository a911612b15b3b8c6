"""Spiking subsampling: ESPnet's conv2d, conv2d6 and conv2d8, with spikes between the convolutions."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from imlspike.layers.layout import Layout
from imlspike.layers.norm import MaskedBatchNorm
from imlspike.layers.rep_linear import RepLinear
from imlspike.layers.rep_ssa import sees_utterance
from imlspike.neurons import IMLS

# (kernel, stride) of each convolution, in time and in frequency alike, as ESPnet has them under these names.
STAGES = {
    "conv2d": ((3, 2), (3, 2)),
    "conv2d6": ((3, 2), (5, 3)),
    "conv2d8": ((3, 2), (3, 2), (3, 2)),
}
# In evaluation a recording of more frames than this is worked off in pieces of so many frames: no more of
# the wide input of the linear map exists at a time.
PIECE = 8192
FOR_MAPS = partial(IMLS.for_maps, 6)


def conv_output(size, kernel: int, stride: int):
    """Positions of a convolution without padding over `size` (an int or an integer tensor), at least 0.

    >>> conv_output(7, 3, 2), conv_output(2, 3, 2)
    (3, 0)
    """
    out = (size - kernel) // stride + 1
    return out.clamp(min=0) if isinstance(out, Tensor) else max(out, 0)


class _Stage(nn.Module):
    """conv -> batch norm -> IMLS, on (B, L, F, C)."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int, neuron: Callable):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride)
        self.norm = MaskedBatchNorm(channels)
        self.neuron = neuron()

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Layout]:
        # (B, L, F, C) seen as (B, C, L, F) is torch's channels-last memory format: nothing is copied.
        x = self.conv(x.to(self.conv.weight.dtype).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        layout = Layout(None if lengths is None else self.positions(lengths), x.shape[1], len(x))
        return self.neuron(x if self.norm is None else self.norm(x, layout), layout.mask), layout

    def positions(self, frames):
        return conv_output(frames, self.kernel, self.stride)

    def fold(self) -> None:
        if self.norm is not None:
            self.conv, self.norm = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval()), None


class SpikingSubsampling(nn.Module):
    """Features to tokens: convolutions of stride 2 or 3 with IMLS neurons after each, then a linear map.

    The first convolution sees real-valued features; all that follows is driven by spikes. Frames per token:
    conv2d 4, conv2d6 6, conv2d8 8. Lengths and (folded) parameters are those of ESPnet's subsampling of the
    same name.

    Args:
        input_size: F, features in a frame.
        output_size: channels of a token.
        input_layer: ``conv2d``, ``conv2d6`` or ``conv2d8``.
        channels: of the convolutions; None: as `output_size`, like ESPnet.
        branches: of the final `RepLinear`.
        neuron: makes a neuron for feature maps (B, L, F, C), see `imlspike.neurons.Neuron.for_maps`; called
            for each convolution.

    Forward:
        x (B, L, F), lengths (B,) or None (no padding) -> packed tokens (K, output_size) and their `Layout`.

    Raises:
        ValueError: on an unknown `input_layer`, too few features, or an utterance of too few frames for one
        token.

    >>> tokens, layout = SpikingSubsampling(80, 16)(torch.randn(2, 50, 80), torch.tensor([50, 31]))
    >>> tokens.shape, layout.lengths
    (torch.Size([18, 16]), tensor([11,  7]))
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        input_layer: str = "conv2d",
        channels: int | None = None,
        branches=("linear", "identity"),
        neuron: Callable[[], nn.Module] = FOR_MAPS,
    ):
        super().__init__()
        if input_layer not in STAGES:
            raise ValueError(f"input_layer must be one of {', '.join(STAGES)}, got {input_layer!r}")
        channels = output_size if channels is None else channels
        stages, features, incoming = [], input_size, 1
        for kernel, stride in STAGES[input_layer]:
            stages.append(_Stage(incoming, channels, kernel, stride, neuron))
            features, incoming = conv_output(features, kernel, stride), channels
        if features < 1:
            raise ValueError(f"{input_layer} leaves nothing of input_size={input_size} features")
        self.input_layer, self.stages = input_layer, nn.ModuleList(stages)
        self.linear = RepLinear(channels * features, output_size, [b for b in branches if b != "identity"])

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Layout]:
        """See the class."""
        self._check(x, lengths)
        x = x[..., None]
        if self._works_in_pieces(x):
            x = self._in_pieces(x)
            lengths = None if lengths is None else self.output_lengths(lengths)
            layout = Layout(lengths, x.shape[1], len(x))
            return layout.pack(x), layout
        for stage in self.stages:
            x, layout = stage(x, lengths)
            lengths = layout.lengths
        return self.linear(layout.pack(x.flatten(2))), layout

    def _check(self, x: Tensor, lengths: Tensor | None) -> None:
        if torch.compiler.is_compiling():
            return
        shortest, row = (x.shape[1], 0) if lengths is None else (int(lengths.min()), int(lengths.argmin()))
        if shortest < self.least_frames():
            raise ValueError(
                f"utterance {row} of the batch has {shortest} frames, too few for one token of "
                f"{self.input_layer} (at least {self.least_frames()}); leave it out or pad it with silence"
            )

    def _works_in_pieces(self, x: Tensor) -> bool:
        """In evaluation, unless a threshold needs the whole utterance."""
        if torch.compiler.is_compiling() or self.training or torch.is_grad_enabled() or x.shape[1] <= PIECE:
            return False
        return not any(sees_utterance(stage.neuron) for stage in self.stages)

    def _in_pieces(self, x: Tensor) -> Tensor:
        """(B, L, F, 1) -> (B, N, C): each stage keeps what its next window sees again, nothing else."""
        kept, tokens = [None] * len(self.stages), []
        for piece in x.split(PIECE, 1):
            for n, stage in enumerate(self.stages):
                piece = piece if kept[n] is None else torch.cat((kept[n], piece), 1)
                rows = stage.positions(piece.shape[1])
                kept[n] = piece[:, rows * stage.stride :]
                if not rows:
                    break
                piece, _ = stage(piece, None)
            else:
                tokens.append(self.linear(piece.flatten(2)))
        return torch.cat(tokens, 1)

    def output_lengths(self, lengths):
        """Tokens of an utterance of so many frames (an int or an integer tensor)."""
        for kernel, stride in STAGES[self.input_layer]:
            lengths = conv_output(lengths, kernel, stride)
        return lengths

    def least_frames(self) -> int:
        """The fewest frames that give one token."""
        frames = 1
        for kernel, stride in reversed(STAGES[self.input_layer]):
            frames = (frames - 1) * stride + kernel
        return frames

    def fold(self) -> None:
        """Folds each convolution with its batch norm, in place, for evaluation; its `RepLinear` stays."""
        for stage in self.stages:
            stage.fold()
