"""IML-Spikeformer: the spiking Transformer encoder (Song et al., arXiv 2507.07396)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from imlspike.layers import (
    Layout,
    MaskedBatchNorm,
    RepSSA,
    SpikingFeedForward,
    SpikingSubsampling,
    SpikingTimeConv,
    fold_rep_linears,
    hierarchical_decay,
    synchronise_norms,
)
from imlspike.models.neuron_choice import NeuronChoice


class SpikeformerBlock(nn.Module):
    """x + conv(x) where there is one, x + RepSSA(x), x + FFN(x): residuals join membrane potentials, not
    spikes.

    Args:
        attention: a `RepSSA`.
        feed_forward: a `SpikingFeedForward`.
        conv: a `SpikingTimeConv`, or None.
        dropout: rate on the output of each branch.

    Forward: x (K, C) packed tokens and their `Layout` -> (K, C).

    >>> block = SpikeformerBlock(RepSSA(8, torch.tensor([0.5, 0.9])), SpikingFeedForward(8, 16))
    >>> block(torch.randn(8, 8), Layout(torch.tensor([5, 3]), 5)).shape
    torch.Size([8, 8])
    """

    def __init__(
        self,
        attention: RepSSA,
        feed_forward: SpikingFeedForward,
        conv: SpikingTimeConv | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.conv = conv
        self.attention, self.feed_forward, self.dropout = attention, feed_forward, nn.Dropout(dropout)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        if self.conv is not None:
            x = x + self.dropout(self.conv(x, layout))
        x = x + self.dropout(self.attention(x, layout))
        return x + self.dropout(self.feed_forward(x, layout))


def sinusoids(positions: Tensor, channels: int) -> Tensor:
    """Sinusoidal position encoding (Vaswani et al. 2017, section 3.5): positions (K,) -> (K, channels).

    >>> sinusoids(torch.tensor([0]), 4)
    tensor([[0., 1., 0., 1.]])
    """
    rates = 10000.0 ** (-torch.arange(0, channels, 2, device=positions.device) / channels)
    angles = positions[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)[:, :channels]


class IMLSpikeformerEncoder(nn.Module):
    r"""The encoder of IML-Spikeformer, with ESPnet's argument names.

    Spiking subsampling, then blocks of x + RepSSA(x) and x + FFN(x), then a batch norm. The published
    description fixes the multi-level input-aware spikes, the re-parameterised attention and the hierarchical
    decay mask; the equations are ours (`imlspike.neurons.IMLS`, `imlspike.layers.RepSSA`,
    `imlspike.layers.decay_attention`).

    Args:
        input_size: F, features in a frame.
        output_size: C, channels of a token.
        attention_heads: H.
        linear_units: width of the feed-forward.
        num_blocks: number of blocks.
        dropout_rate: on the branches and inside the feed-forward.
        positional_dropout_rate: on the tokens that enter the first block.
        input_layer: ``conv2d`` (4 frames a token), ``conv2d6`` or ``conv2d8``.
        input_channels: of the subsampling convolutions; None: `output_size`, as in ESPnet.
        positions: ``none`` (the decay mask is all there is) or ``sinusoidal``, added to the tokens.
        neuron: a registered neuron. A stateful one fires for `levels` steps on a constant current, and what
            flows on is its spike count (`RateCoded`); ``relu``: the ANN twin of the same architecture.
        neuron_conf: its further arguments.
        levels: T, the most spikes of a neuron.
        threshold, kappa, threshold_value, detach_threshold, amplitude: of `IMLS`, for every neuron.
            The paper's threshold follows the input (``token``); the default is the one that was better in
            three of three seeds here (README of egs/msu_ru_nsh/asr1): fixed, what ``token`` gives for unit
            normal input.
            With spikes of ``theta`` the attention is a product of three levels, and an utterance louder
            inside than the running statistics of the batch norms grows from block to block (seen: losses of
            1e23 in evaluation); ``unit`` spikes are bounded.
        qk: which of query and key fire: ``key``, ``both`` or ``none``.
        decay: ``hierarchical``, ``uniform`` or ``none``.
        decay_a, decay_b, decay_c: gamma = 1 - 2^-(a + b l/(L-1) + c h/H).
        direction: ``both``: every head sees past and future; ``split``: even heads the past, odd heads the
            future; ``past``: causal, but for the few frames that the subsampling looks ahead, where
            `threshold` is ``fixed`` or ``learned`` (the other statistics of the subsampling need the whole
            utterance).
        attention_mode: ``auto``, ``quadratic`` or ``chunked``.
        rep_branches: of `RepLinear`.
        residual_gain: first scale of the batch norms that end a branch; below 1 the tokens pass a new network
            nearly unchanged.
        conv_kernel: tokens under a `SpikingTimeConv` at the head of each block; 0: none, as in the paper.
        sync_norms: whether processes that train together share the statistics of their batch norms, see
            `MaskedBatchNorm`.
        compile: blocks run through `torch.compile`, for training on a GPU.

    Forward:
        xs (B, L, F) floating point, lengths (B,) frames or None (no padding); further positional arguments
        of ESPnet are the wrapper's matter.

    Returns:
        ys (B, N, C), zero at padding; lengths (B,) in tokens, or None if there were none; None (ESPnet's
        states).

    Raises:
        ValueError: on an argument outside its choices, or an utterance too short for one token.

    >>> encoder = IMLSpikeformerEncoder(80, output_size=16, attention_heads=2, linear_units=32, num_blocks=2)
    >>> ys, lengths, _ = encoder(torch.randn(2, 50, 80), torch.tensor([50, 31]))
    >>> ys.shape, lengths
    (torch.Size([2, 11, 16]), tensor([11,  7]))
    """

    def __init__(
        self,
        input_size: int,
        output_size: int = 256,
        attention_heads: int = 4,
        linear_units: int = 2048,
        num_blocks: int = 12,
        dropout_rate: float = 0.1,
        positional_dropout_rate: float = 0.1,
        input_layer: str = "conv2d",
        input_channels: int | None = None,
        positions: str = "none",
        neuron: str = "imls",
        neuron_conf: dict[str, Any] | None = None,
        levels: int = 6,
        threshold: str = "fixed",
        kappa: float = 0.45,
        threshold_value: float = 0.36,
        detach_threshold: bool = True,
        amplitude: str = "unit",
        qk: str = "key",
        decay: str = "hierarchical",
        decay_a: float = 1.0,
        decay_b: float = 5.0,
        decay_c: float = 1.0,
        direction: str = "both",
        attention_mode: str = "auto",
        rep_branches: Sequence[str] = ("linear", "identity"),
        residual_gain: float = 0.25,
        conv_kernel: int = 0,
        sync_norms: bool = True,
        compile: bool = False,
    ):
        super().__init__()
        if positions not in ("none", "sinusoidal"):
            raise ValueError(f"positions must be none or sinusoidal, got {positions!r}")
        own = dict(threshold=threshold, kappa=kappa, value=threshold_value)
        own |= dict(detach=detach_threshold, amplitude=amplitude)
        conf = (own if neuron == "imls" else {}) | dict(neuron_conf or {})
        neurons = NeuronChoice(neuron, levels, conf, {}, one_pass=True, over_utterance=True)
        self._output_size, self.positions = output_size, positions
        self.embed = SpikingSubsampling(
            input_size, output_size, input_layer, input_channels, rep_branches, neurons.for_maps
        )
        self.dropout = nn.Dropout(positional_dropout_rate)
        if direction == "split":
            direction = [("past", "future")[head % 2] for head in range(attention_heads)]
        rep = dict(branches=rep_branches, gain=residual_gain, neuron=neurons)
        self.blocks = nn.ModuleList()
        for layer in range(num_blocks):
            gamma = hierarchical_decay(layer, num_blocks, attention_heads, decay_a, decay_b, decay_c, decay)
            attention = RepSSA(output_size, gamma, qk, direction, attention_mode, **rep)
            feed_forward = SpikingFeedForward(output_size, linear_units, dropout_rate, **rep)
            conv = None
            if conv_kernel:
                whole = partial(neurons, amplitude="unit")
                conv = SpikingTimeConv(output_size, conv_kernel, direction == "past", residual_gain, whole)
            self.blocks.append(SpikeformerBlock(attention, feed_forward, conv, dropout_rate))
        self.after_norm = MaskedBatchNorm(output_size)
        synchronise_norms(self, sync_norms)
        if compile:
            for block in self.blocks:
                block.compile(dynamic=True)

    def output_size(self) -> int:
        """C, the channels of an output token (ESPnet's interface)."""
        return self._output_size

    def output_lengths(self, lengths):
        """Tokens of an utterance of so many frames (an int or an integer tensor)."""
        return self.embed.output_lengths(lengths)

    def forward(self, xs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None, None]:
        x, layout = self.embed(xs, lengths)
        if self.positions == "sinusoidal":
            position = torch.arange(layout.tokens, device=x.device).expand(layout.batch, -1)
            x = x + sinusoids(layout.pack(position), self._output_size).to(x.dtype)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, layout)
        return layout.unpack(self.after_norm(x)), layout.lengths, None

    def reparameterize(self) -> "IMLSpikeformerEncoder":
        """Fold branches and batch norms into the linear maps and convolutions they belong to, in place.

        The encoder is put into evaluation mode; its output stays the same up to rounding. Returns the
        encoder.
        """
        self.eval()
        self.embed.fold()
        for block in self.blocks:
            if block.conv is not None:
                block.conv.fold()
        return fold_rep_linears(self)
