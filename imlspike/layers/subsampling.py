"""Spiking subsampling: ESPnet's conv2d, conv2d6 and conv2d8, with spikes between the convolutions."""

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from imlspike.layers.integer import IntegerConv2d, use_integers
from imlspike.layers.layout import Layout
from imlspike.layers.norm import MaskedBatchNorm
from imlspike.layers.rep_linear import RepLinear
from imlspike.neurons import IMLS

# (kernel, stride) of each convolution, in time and in frequency alike, as ESPnet has them under these names.
STAGES = {
    "conv2d": ((3, 2), (3, 2)),
    "conv2d6": ((3, 2), (5, 3)),
    "conv2d8": ((3, 2), (3, 2), (3, 2)),
}
# In evaluation a recording of more frames than this is convolved in pieces of so many frames.
PIECE = 8192


def conv_output(size, kernel: int, stride: int):
    """Positions of a convolution without padding over `size` (an int or an integer tensor), at least 0.

    >>> conv_output(7, 3, 2), conv_output(2, 3, 2)
    (3, 0)
    """
    out = (size - kernel) // stride + 1
    return out.clamp(min=0) if isinstance(out, Tensor) else max(out, 0)


class _Stage(nn.Module):
    """conv -> batch norm -> IMLS, on (B, L, F, C)."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int, neuron: dict):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride)
        self.norm = MaskedBatchNorm(channels)
        # Theta does not factor out of a convolution over time unless the frames under its kernel share it:
        # the statistic is the utterance's.
        self.neuron = IMLS(**{**neuron, "token_dim": 1, "channel_dims": (2, 3)})

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        lengths = conv_output(lengths, self.kernel, self.stride)
        in_sight = self.neuron._forward_hooks or self.neuron._forward_pre_hooks  # of a spike counter, say
        if x.shape[1] > PIECE and not (torch.is_grad_enabled() or self.training or in_sight):
            return self._in_pieces(x, lengths), lengths
        x = self._convolve(x)
        mask = Layout(lengths, x.shape[1]).mask
        x = self.norm(x, mask) if self.norm is not None else x
        return self.neuron(x, mask), lengths

    def _convolve(self, x: Tensor) -> Tensor:
        if isinstance(self.conv, IntegerConv2d):
            return self.conv(x)
        # (B, L, F, C) seen as (B, C, L, F) is torch's channels-last memory format: nothing is copied.
        return self.conv(x.to(self.conv.weight.dtype).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def _pieces(self, x: Tensor, frames: int):
        """(rows, what reaches the neuron there), piece by piece."""
        step = max(1, PIECE // self.stride)
        for start in range(0, frames, step):
            stop = min(start + step, frames)
            piece = self._convolve(x[:, start * self.stride : (stop - 1) * self.stride + self.kernel])
            yield slice(start, stop), piece if self.norm is None else self.norm(piece)

    def _in_pieces(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The same, piece by piece: no more than a piece of real-valued output exists beside the result."""
        frames, result = conv_output(x.shape[1], self.kernel, self.stride), None
        mask, neuron = Layout(lengths, frames).mask, self.neuron
        if self.conv.in_channels == 1 and neuron.amplitude == "unit" and neuron.threshold != "channel":
            # The first stage is the widest and its convolution costs least: done twice, so that only counts
            # are kept, one byte each. A threshold over frames and channels needs each frame's mean only.
            pieces = (piece.abs() for _, piece in self._pieces(x, frames))
            means = [piece.mean(neuron.channel_dims, keepdim=True) for piece in pieces]
            theta = neuron.theta(torch.cat(means, 1), mask)
            counts = neuron.count_dtype or (torch.uint8 if neuron.levels < 256 else x.dtype)
            for rows, piece in self._pieces(x, frames):
                if result is None:
                    result = piece.new_empty(piece.shape[0], frames, *piece.shape[2:], dtype=counts)
                result[:, rows] = neuron.fire(piece, theta)
            return result
        for rows, piece in self._pieces(x, frames):
            if result is None:
                result = piece.new_empty(piece.shape[0], frames, *piece.shape[2:])
            result[:, rows] = piece
        theta = neuron.theta(result, mask)
        for rows in (slice(start, start + PIECE) for start in range(0, frames, PIECE)):
            result[:, rows] = neuron.fire(result[:, rows], theta)
        return result if neuron.count_dtype is None else result.to(neuron.count_dtype)

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
        neuron: arguments of the `IMLS` neurons. A ``token`` threshold becomes ``layer`` here, one for the
            utterance.

    Forward:
        x (B, L, F), lengths (B,) -> packed tokens (K, output_size) and their `Layout`.

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
        **neuron,
    ):
        super().__init__()
        if input_layer not in STAGES:
            raise ValueError(f"input_layer must be one of {', '.join(STAGES)}, got {input_layer!r}")
        channels = output_size if channels is None else channels
        if neuron.get("threshold", "token") == "token":
            neuron = {**neuron, "threshold": "layer"}
        stages, features, incoming = [], input_size, 1
        for kernel, stride in STAGES[input_layer]:
            stages.append(_Stage(incoming, channels, kernel, stride, neuron))
            features, incoming = conv_output(features, kernel, stride), channels
        if features < 1:
            raise ValueError(f"{input_layer} leaves nothing of input_size={input_size} features")
        self.input_layer, self.stages = input_layer, nn.ModuleList(stages)
        self.linear = RepLinear(channels * features, output_size, [b for b in branches if b != "identity"])

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Layout]:
        """See the class."""
        if int(self.output_lengths(lengths).min()) < 1:
            short = int(self.output_lengths(lengths).argmin())
            raise ValueError(
                f"utterance {short} of the batch has {int(lengths[short])} frames, too few for one token of "
                f"{self.input_layer} (at least {self.least_frames()}); leave it out or pad it with silence"
            )
        x = x[..., None]
        for stage in self.stages:
            x, lengths = stage(x, lengths)
        layout = Layout(lengths, x.shape[1])
        return self.linear(layout.pack(x.flatten(2))), layout

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

    def use_integers(self) -> None:
        """After folding: the maps that spikes feed become integer ones, see `imlspike.layers.integer`."""
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            use_integers(before.neuron, after, "conv")
        use_integers(self.stages[-1].neuron, self, "linear")
