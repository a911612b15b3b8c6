"""Spiking subsampling: ESPnet's input layers, with spikes between the convolutions."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from imlspike.layers.layout import Layout
from imlspike.layers.norm import MaskedBatchNorm
from imlspike.layers.rep_linear import RepLinear
from imlspike.layers.rep_ssa import sees_utterance
from imlspike.neurons import IMLS
from imlspike.ops.reference import wide

# (kernel, stride) of each convolution, as ESPnet has them under these names: in time and, but for conv1d2, in
# frequency alike.
STAGES = {
    "conv1d2": ((3, 1), (3, 2)),
    "conv2d": ((3, 2), (3, 2)),
    "conv2d1": ((3, 1), (3, 1)),
    "conv2d2": ((3, 2), (3, 1)),
    "conv2d6": ((3, 2), (5, 3)),
    "conv2d8": ((3, 2), (3, 2), (3, 2)),
}
WHOLE = ("linear", "embed", "wav2vec", None)  # a frame is a token
# In evaluation a recording of more frames than this is worked off in pieces of so many frames, so that of the
# wide feature maps no more exists at a time.
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
    """conv -> batch norm -> IMLS, on (B, L, F, C), of which F is 1 for a convolution in time alone."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int, flat: bool, neuron: Callable,
        groups: int = 1,
    ):  # fmt: skip
        super().__init__()
        self.kernel, self.stride = kernel, stride
        over = ((kernel, 1), (stride, 1)) if flat else (kernel, stride)
        self.conv = nn.Conv2d(in_channels, channels, *over, groups=groups)
        self.norm = MaskedBatchNorm(channels)
        self.neuron = neuron()

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Layout]:
        layout = self.layout(lengths, x.shape[1], len(x))
        return self.neuron(self._current(x, layout), layout.mask), layout

    def layout(self, lengths: Tensor | None, frames: int, batch: int) -> Layout:
        """Frames of the output for an input of so many frames."""
        return Layout(None if lengths is None else self._positions(lengths), self._positions(frames), batch)

    def in_pieces(self, pieces: Iterable[Tensor], mask: Tensor | None) -> Iterator[Tensor]:
        """`forward` in evaluation, from pieces of the input (B, l, F, C) to pieces of the output.

        A threshold over the utterance takes two passes. The first stage, whose pieces must be a sequence,
        convolves in both: that costs least, and its output would be the largest. The others keep theirs.
        """
        neuron, keeps = self.neuron, self.conv.in_channels > 1
        if sees_utterance(neuron):
            means, kept = [], deque()
            for current in self._currents(pieces):
                means.append(current.abs().mean((2, 3), keepdim=True, dtype=wide(current)))
                if keeps:
                    kept.append(current)
            neuron = partial(neuron, theta=neuron.theta(torch.cat(means, 1), mask))
            while kept:
                yield neuron(kept.popleft())
            if keeps:
                return
        yield from map(neuron, self._currents(pieces))

    def _currents(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """The neuron's input; of a piece only what the next window sees again is kept."""
        kept = None
        for piece in pieces:
            piece = piece if kept is None else torch.cat((kept, piece), 1)
            rows = self._positions(piece.shape[1])
            kept = piece[:, rows * self.stride :]
            if rows:
                yield self._current(piece, None)

    def _current(self, x: Tensor, layout: Layout | None) -> Tensor:
        # (B, L, F, C) seen as (B, C, L, F) is torch's channels-last memory format: nothing is copied.
        x = self.conv(x.to(self.conv.weight.dtype).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x if self.norm is None else self.norm(x, layout)

    def _positions(self, frames):
        return conv_output(frames, self.kernel, self.stride)

    def fold(self) -> None:
        if self.norm is not None:
            self.conv, self.norm = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval()), None


class SpikingSubsampling(nn.Module):
    """Features to tokens: convolutions with IMLS neurons after each, then a linear map.

    The first convolution sees real-valued features; all that follows is driven by spikes. Frames per token:
    conv2d1 1, conv1d2 and conv2d2 2, conv2d 4, conv2d6 6, conv2d8 8. Lengths and (folded) parameters are
    those of ESPnet's subsampling of the same name. Without convolutions a frame is a token: ``linear``: a
    linear map; ``embed``: a table of F entries; None: nothing, or a linear map where the number of channels
    changes; ``wav2vec``: a batch norm.

    Args:
        input_size: F, features in a frame.
        output_size: channels of a token.
        input_layer: of `STAGES` or `WHOLE`.
        channels: of the convolutions; None: as `output_size`, like ESPnet.
        branches: of the final `RepLinear`.
        groups: into which the channels of the convolutions after the first fall, each convolved by itself.
        neuron: makes a neuron for feature maps (B, L, F, C), see `imlspike.neurons.Neuron.for_maps`; called
            for each convolution.

    Forward:
        x (B, L, F), for ``embed`` (B, L) int64, lengths (B,) or None (no padding) -> packed tokens
        (K, output_size) and their `Layout`.

    Raises:
        ValueError: on an unknown `input_layer`, `groups` that don't divide the channels, too few features, or
            an utterance of too few frames for one token.

    >>> tokens, layout = SpikingSubsampling(80, 16)(torch.randn(2, 50, 80), torch.tensor([50, 31]))
    >>> tokens.shape, layout.lengths
    (torch.Size([18, 16]), tensor([11,  7]))
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        input_layer: str | None = "conv2d",
        channels: int | None = None,
        branches=("linear", "identity"),
        neuron: Callable[[], nn.Module] = FOR_MAPS,
        groups: int = 1,
    ):
        super().__init__()
        if input_layer not in (*STAGES, *WHOLE):
            known = ", ".join(map(str, (*STAGES, *WHOLE)))
            raise ValueError(f"input_layer must be one of {known}, got {input_layer!r}")
        if input_layer == "wav2vec" and input_size != output_size:
            raise ValueError(f"input_layer wav2vec keeps the channels: {input_size} aren't {output_size}")
        channels = output_size if channels is None else channels
        if groups < 1 or channels % groups:
            raise ValueError(f"groups must divide the {channels} channels of the convolutions, got {groups}")
        self.input_layer, self.flat, self.stages = input_layer, input_layer == "conv1d2", nn.ModuleList()
        features, incoming = (1, input_size) if self.flat else (input_size, 1)
        for kernel, stride in STAGES.get(input_layer, ()):
            own = groups if self.stages else 1
            self.stages.append(_Stage(incoming, channels, kernel, stride, self.flat, neuron, own))
            features, incoming = features if self.flat else conv_output(features, kernel, stride), channels
        if features < 1:
            raise ValueError(f"{input_layer} leaves nothing of input_size={input_size} features")
        if input_layer == "embed":
            self.linear = nn.Embedding(input_size, output_size)
        elif input_layer == "wav2vec":
            self.linear = MaskedBatchNorm(output_size)
        elif input_layer is None and input_size == output_size:
            self.linear = nn.Identity()
        else:
            self.linear = RepLinear(
                incoming * features, output_size, [b for b in branches if b != "identity"]
            )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Layout]:
        self._check(x, lengths)
        if not self.stages:
            layout = Layout(lengths, x.shape[1], len(x))
            return self.linear(layout.pack(x)), layout
        if self.training and lengths is not None:  # else NaN there would reach the gradients of the weights
            padding = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
            x = x.masked_fill(padding[..., None], 0.0)
        x = x[:, :, None] if self.flat else x[..., None]
        if self._works_in_pieces(x):
            return self._in_pieces(x, lengths)
        for stage in self.stages:
            x, layout = stage(x, lengths)
            lengths = layout.lengths
        return self.linear(layout.pack(x.flatten(2))), layout

    def _check(self, x: Tensor, lengths: Tensor | None) -> None:
        if torch.compiler.is_compiling():
            return
        if lengths is not None and int(lengths.max()) > x.shape[1]:
            raise ValueError(f"lengths {lengths.tolist()} reach beyond the {x.shape[1]} frames of the batch")
        shortest, row = (x.shape[1], 0) if lengths is None else (int(lengths.min()), int(lengths.argmin()))
        if shortest < self.least_frames():
            raise ValueError(
                f"utterance {row} of the batch has {shortest} frames, too few for one token of "
                f"{self.input_layer} (at least {self.least_frames()}); leave it out or pad it with silence"
            )

    def _works_in_pieces(self, x: Tensor) -> bool:
        """True in evaluation, unless a threshold needs more of the utterance than each frame's mean."""
        if torch.compiler.is_compiling() or self.training or torch.is_grad_enabled() or x.shape[1] <= PIECE:
            return False
        if is_in_torch_dispatch_mode():  # a counter of operations, say: in pieces some would be counted twice
            return False
        return all(not sees_utterance(stage.neuron) or stage.neuron.from_means for stage in self.stages)

    def _in_pieces(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Layout]:
        """`forward` from (B, L, F, 1), each stage taking the pieces that the one before gives."""
        frames, pieces = x.shape[1], x.split(PIECE, 1)
        for stage in self.stages:
            layout = stage.layout(lengths, frames, len(x))
            lengths, frames = layout.lengths, layout.tokens
            pieces = stage.in_pieces(pieces, layout.mask)
        tokens = torch.cat([self.linear(piece.flatten(2)) for piece in pieces], 1)
        return layout.pack(tokens), layout

    def output_lengths(self, lengths):
        """Tokens of an utterance of so many frames (an int or an integer tensor)."""
        for kernel, stride in STAGES.get(self.input_layer, ()):
            lengths = conv_output(lengths, kernel, stride)
        return lengths

    def least_frames(self) -> int:
        """The fewest frames that give one token."""
        frames = 1
        for kernel, stride in reversed(STAGES.get(self.input_layer, ())):
            frames = (frames - 1) * stride + kernel
        return frames

    def frames_per_token(self) -> int:
        """Frames from one token to the next."""
        return prod(stride for _, stride in STAGES.get(self.input_layer, ()))

    def fold(self) -> None:
        """Fold each convolution with its batch norm, in place, for evaluation; its `RepLinear` stays."""
        for stage in self.stages:
            stage.fold()
