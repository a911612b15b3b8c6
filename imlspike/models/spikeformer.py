"""IML-Spikeformer: the spiking Transformer encoder (Song et al., arXiv 2507.07396)."""

from collections.abc import Sequence
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from imlspike.layers import (
    Carried,
    Layout,
    MaskedBatchNorm,
    RepConv,
    RepSSA,
    SpikingFeedForward,
    SpikingSubsampling,
    SpikingTimeConv,
    fold_rep_linears,
    hierarchical_decay,
    sees_utterance,
    synchronise_norms,
)
from imlspike.models.blocks import Blocks, check_numbers
from imlspike.models.neuron_choice import NeuronChoice, imls_arguments
from imlspike.models.record import RecordsArguments
from imlspike.neurons import IMLS


class SpikeformerBlock(nn.Module):
    """x + FFN(x) and x + conv(x) where there are such, x + RepSSA(x), x + FFN(x): residuals join membrane
    potentials, not spikes.

    Args:
        attention: a `RepSSA`.
        feed_forward: a `SpikingFeedForward`.
        conv: a `SpikingTimeConv`, or None.
        macaron: a `SpikingFeedForward` ahead of all, or None.
        dropout: rate on the output of each branch.

    Forward: x (K, C) packed tokens and their `Layout` -> (K, C); `scale` is what the branches count.

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
        macaron: SpikingFeedForward | None = None,
    ):
        super().__init__()
        self.macaron, self.conv = macaron, conv
        self.attention, self.feed_forward, self.dropout = attention, feed_forward, nn.Dropout(dropout)

    def forward(self, x: Tensor, layout: Layout, scale: float = 1.0) -> Tensor:
        for branch in filter(None, (self.macaron, self.conv, self.attention, self.feed_forward)):
            y = self.dropout(branch(x, layout))
            x = x + (y if scale == 1 else scale * y)
        return x


def sinusoids(positions: Tensor, channels: int) -> Tensor:
    """Sinusoidal position encoding (Vaswani et al. 2017, section 3.5): positions (K,) -> (K, channels).

    >>> sinusoids(torch.tensor([0]), 4)
    tensor([[0., 1., 0., 1.]])
    """
    rates = 10000.0 ** (-torch.arange(0, channels, 2, device=positions.device) / channels)
    angles = positions[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)[:, :channels]


class IMLSpikeformerEncoder(RecordsArguments):
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
        attention_dropout_rate: on what the attention mixes (there are no weights that sum to one).
        input_layer: of `SpikingSubsampling`; ``conv2d``: 4 frames a token.
        input_channels: of the subsampling convolutions; None: `output_size`, as in ESPnet.
        input_groups: groups of channels in the subsampling convolutions after the first, which cost that much
            less.
        positions: ``none`` (the decay mask is all there is) or ``sinusoidal``, added to the tokens.
        neuron: a registered neuron. A stateful one fires for `levels` steps on a constant current, and what
            flows on is its spike count (`RateCoded`); ``relu``: the ANN twin of the same architecture.
        neuron_conf: its further arguments.
        levels: T, the most spikes of a neuron.
        threshold, kappa, threshold_value, detach_threshold, amplitude: of `IMLS`, for every neuron.
            The paper's threshold follows the input; ``token`` is our form of it. The default was better in
            three of three seeds here (README of egs/msu_ru_nsh/asr1): fixed, what ``token`` gives for unit
            normal input.
            With spikes of ``theta`` the attention is a product of three levels, and an utterance louder
            inside than the running statistics of the batch norms grows from block to block (seen: losses of
            1e23 in evaluation); ``unit`` spikes are bounded.
        anneal_steps: forward passes in training over which the steps of an IMLS get coarser: eighths of a
            spike, quarters, halves, and whole spikes from then on, as always in evaluation. 0: always whole.
        qk: which of query and key fire: ``key``, ``both`` or ``none``.
        decay: ``hierarchical``, ``uniform`` or ``none``.
        decay_a, decay_b, decay_c: gamma = 1 - 2^-(a + b l/(L-1) + c h/H).
        direction: ``both``: every head sees past and future; ``split``: even heads the past, odd heads the
            future; ``past``: causal, but for the few frames that the subsampling looks ahead, where
            `threshold` is ``fixed`` or ``learned`` (the other statistics of the subsampling need the whole
            utterance).
        look_ahead: what attention and convolutions may see of the future: the rest of a group of so many
            tokens and one more, so that the first of a group looks the furthest; None: as `direction` says.
            Of several, each forward in training draws one, which makes a model that serves all of them;
            evaluation takes the first, or what the attribute `look_ahead` was set to since.
        attention_mode: ``auto``, ``quadratic`` or ``chunked``.
        rep_branches: of `RepLinear`.
        residual_gain: first scale of the batch norms that end a branch; below 1 the tokens pass a new network
            nearly unchanged.
        conv_kernel: tokens under a `SpikingTimeConv` at the head of each block; 0: none.
        rep_kernel: tokens under a convolution among the branches of q, k, v and o (`RepConv`); 0: none.
        o_affine: of `RepSSA`: a scale and shift, and so a threshold, for each channel of what the heads put
            out, where other neurons have them from the norm before.
        macaron: a second feed-forward, of `linear_units` too, at the head of each block.
        sync_norms: whether processes that train together share the statistics of their batch norms, see
            `MaskedBatchNorm`.
        compile: blocks run through `torch.compile`, for training on a GPU.
        interctc_layer_idx: numbers of blocks, from 1, whose output is given out too, for intermediate CTC.
            Each has a batch norm of its own.
        interctc_use_conditioning: what such a block says enters the next one, by `conditioning_layer`, a map
            from V tokens to C channels that the user of the encoder sets (ESPnet's model does).
        layer_drop_rate, stochastic_depth_rate, gradient_checkpoint_layers: of `Blocks`.

    Forward:
        xs (B, L, F) floating point, for ``embed`` (B, L) int64; lengths (B,) frames or None (no padding);
        `return_all_hs`: give out every block's output; `ctc`, for the conditioning: its method `softmax`
        makes of (B, N, C) probabilities (B, N, V). Further arguments of ESPnet's are the wrapper's matter.

    Returns:
        ys (B, N, C), zero at padding; lengths (B,) in tokens, or None if there were none; None (ESPnet's
        states). In place of ys (ys, [(number, (B, N, C)) ...]) with `interctc_layer_idx`, and
        (ys, [(B, N, C) ...]) with `return_all_hs`.

    Raises:
        ValueError: on an argument outside its choices, or an utterance too short for one token.
        RuntimeError: under `torch.jit.trace`, which would keep the lengths that it saw.

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
        attention_dropout_rate: float = 0.0,
        input_layer: str | None = "conv2d",
        input_channels: int | None = None,
        input_groups: int = 1,
        positions: str = "none",
        neuron: str = "imls",
        neuron_conf: dict[str, Any] | None = None,
        levels: int = 6,
        threshold: str = "fixed",
        kappa: float = 0.45,
        threshold_value: float = 0.36,
        detach_threshold: bool = True,
        amplitude: str = "unit",
        anneal_steps: int = 0,
        qk: str = "key",
        decay: str = "hierarchical",
        decay_a: float = 1.0,
        decay_b: float = 5.0,
        decay_c: float = 1.0,
        direction: str | Sequence[str] = "both",
        look_ahead: int | Sequence[int | None] | None = None,
        attention_mode: str = "auto",
        rep_branches: Sequence[str] = ("linear", "identity"),
        residual_gain: float = 0.25,
        conv_kernel: int = 0,
        rep_kernel: int = 0,
        o_affine: bool = False,
        macaron: bool = False,
        sync_norms: bool = True,
        compile: bool = False,
        interctc_layer_idx: Sequence[int] = (),
        interctc_use_conditioning: bool = False,
        layer_drop_rate: float = 0.0,
        stochastic_depth_rate: float | Sequence[float] = 0.0,
        gradient_checkpoint_layers: Sequence[int] = (),
    ):
        super().__init__()
        if positions not in ("none", "sinusoidal"):
            raise ValueError(f"positions must be none or sinusoidal, got {positions!r}")
        self.look_aheads = [*look_ahead] if isinstance(look_ahead, Sequence) else [look_ahead]
        for each in self.look_aheads or [()]:
            if each is not None and (type(each) is not int or each < 0):
                raise ValueError(
                    f"look_ahead must be tokens, at least 0, several of them, or none; got {each!r}"
                )
        self.look_ahead: int | None = self.look_aheads[0]
        # What the last block puts out is the output.
        check_numbers("interctc_layer_idx", interctc_layer_idx, num_blocks - 1)
        given = (threshold, kappa, threshold_value, detach_threshold, amplitude)
        conf, meaning = imls_arguments(neuron, neuron_conf, *given)
        neurons = NeuronChoice(neuron, levels, conf, {}, one_pass=True, over_utterance=True)
        self.record(
            **dict(attention_heads=attention_heads, input_layer=input_layer, positions=positions, qk=qk),
            **dict(levels=levels, direction=direction, decay=decay, **meaning),
            **({} if decay == "none" else dict(decay_a=decay_a, decay_b=decay_b, decay_c=decay_c)),
            interctc_use_conditioning=interctc_use_conditioning,
        )
        self._output_size, self.positions, self.anneal_steps = output_size, positions, anneal_steps
        if anneal_steps:  # how many there were, so that a training goes on where it was
            self.register_buffer("passes", torch.zeros((), dtype=torch.long))
        self.embed = SpikingSubsampling(
            input_size, output_size, input_layer, input_channels, rep_branches, neurons.for_maps, input_groups
        )
        self.dropout = nn.Dropout(positional_dropout_rate)
        self._direction = direction
        if direction == "split":
            direction = [("past", "future")[head % 2] for head in range(attention_heads)]
        rep = dict(branches=rep_branches, gain=residual_gain, neuron=neurons)
        blocks = []
        for layer in range(num_blocks):
            gamma = hierarchical_decay(layer, num_blocks, attention_heads, decay_a, decay_b, decay_c, decay)
            told = (qk, direction, attention_mode, attention_dropout_rate)
            attention = RepSSA(output_size, gamma, *told, **rep, kernel=rep_kernel, o_affine=o_affine)
            forwards = [
                SpikingFeedForward(output_size, linear_units, dropout_rate, **rep) for _ in range(1 + macaron)
            ]
            conv = None
            if conv_kernel:
                whole = partial(neurons, amplitude="unit")
                conv = SpikingTimeConv(output_size, conv_kernel, direction == "past", residual_gain, whole)
            blocks.append(SpikeformerBlock(attention, forwards[0], conv, dropout_rate, *forwards[1:]))
        drop = (layer_drop_rate, stochastic_depth_rate)
        self.blocks = Blocks(blocks, *drop, gradient_checkpoint_layers, sync_norms)
        self.after_norm = MaskedBatchNorm(output_size)
        # ESPnet's names, by which its models ask for the two.
        self.interctc_layer_idx, self.interctc_use_conditioning = (
            interctc_layer_idx,
            interctc_use_conditioning,
        )
        self.conditioning_layer: nn.Module | None = None
        # The statistics of what a block in the middle puts out are others than those of the end.
        self.interctc_norms = nn.ModuleDict(
            {str(i): MaskedBatchNorm(output_size) for i in interctc_layer_idx}
        )
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

    def forward(
        self,
        xs: Tensor,
        lengths: Tensor | None = None,
        return_all_hs: bool = False,
        ctc: Any = None,
    ) -> tuple[Any, Tensor | None, None]:
        if torch.jit.is_tracing():
            raise RuntimeError("torch.jit.trace keeps the lengths that it saw; use torch.export or compile")
        if self.interctc_use_conditioning and (ctc is None or self.conditioning_layer is None):
            raise ValueError("interctc_use_conditioning needs the argument ctc and a conditioning_layer")
        if return_all_hs and self.interctc_layer_idx:
            raise ValueError(
                "return_all_hs: with interctc_layer_idx the outputs of those blocks are given out"
            )
        if self.anneal_steps and self.training:
            self._anneal()
        x, layout = self.embed(xs, lengths)
        layout.look_ahead = self.look_ahead
        if self.training and len(self.look_aheads) > 1:
            layout.look_ahead = self.look_aheads[int(torch.randint(len(self.look_aheads), ()))]
        return self._encode(x, layout, return_all_hs, ctc)

    def step(self, xs: Tensor, carried: Carried, look_ahead: int, ctc: Any = None) -> Tensor:
        """The next tokens of a stream, in evaluation: what `forward` gives of the whole with this look-ahead.

        Args:
            xs: (B, L, F), frames from that on which the next token begins with. Their tokens n are a multiple
                of `look_ahead` + 1, unless the stream ends with them.
            carried: of this stream, new at its begin.

        Returns:
            (B, n, C)
        """
        x, layout = self.embed(xs)
        layout.look_ahead, layout.carried = look_ahead, carried
        ys, *_ = self._encode(x, layout, False, ctc)
        carried.tokens += layout.tokens
        return ys[0] if isinstance(ys, tuple) else ys

    def check_stream(self, look_ahead: int | None) -> int:
        """The look-ahead of a stream: the given one, or the longest that this encoder was trained with.

        Raises:
            ValueError: if it can't run on a stream; the argument that is why is named.
        """
        if any(map(sees_utterance, self.modules())):
            raise ValueError(
                "threshold: one over the utterance, as token and layer of the subsampling are, "
                "isn't known before the end of a stream; train with fixed or learned"
            )
        trained = [each for each in self.look_aheads if each is not None]
        if not trained and self._direction == "past":
            trained = [0]  # whatever it is, nothing looks ahead
        if not trained:
            raise ValueError(
                "look_ahead: this model was trained on whole utterances; train one with "
                "look_ahead for streams (conf/quick_streaming.yaml)"
            )
        look_ahead = max(trained) if look_ahead is None else look_ahead
        if type(look_ahead) is not int or look_ahead < 0:
            raise ValueError(f"look_ahead is {look_ahead!r}; expected tokens, at least 0")
        if look_ahead > max(trained):
            raise ValueError(f"look_ahead is {look_ahead}; it was trained with {max(trained)} tokens at most")
        return look_ahead

    def _encode(self, x: Tensor, layout: Layout, return_all_hs: bool, ctc: Any) -> tuple:
        """Blocks and last norm on packed tokens (K, C), to what `forward` returns."""
        if self.positions == "sinusoidal":
            gone = 0 if layout.carried is None else layout.carried.tokens
            position = gone + torch.arange(layout.tokens, device=x.device).expand(layout.batch, -1)
            x = x + sinusoids(layout.pack(position), self._output_size).to(x.dtype)
        x, outputs = self.dropout(x), []
        for number, block in enumerate(self.blocks.passes(), 1):
            x = block(x, layout)
            if return_all_hs:
                outputs.append(layout.unpack(x))
            elif number in self.interctc_layer_idx:
                outputs.append((number, layout.unpack(self.interctc_norms[str(number)](x))))
                if self.interctc_use_conditioning:
                    x = x + layout.pack(self.conditioning_layer(ctc.softmax(outputs[-1][1])))
        ys = layout.unpack(self.after_norm(x))
        return (ys, outputs) if outputs else ys, layout.lengths, None

    def _anneal(self) -> None:
        """Set the steps of all neurons for this pass."""
        left = max(0.0, 1 - int(self.passes) / self.anneal_steps)
        for each in self.modules():
            if isinstance(each, IMLS):
                each.finer = 2 ** ceil(3 * left)
        self.passes.add_(1)

    def reparameterize(self) -> "IMLSpikeformerEncoder":
        """Fold branches and batch norms into the linear maps and convolutions they belong to, in place.

        The encoder is put into evaluation mode; its output stays the same up to rounding. Returns the
        encoder.
        """
        self.eval()
        self.embed.fold()
        for each in self.modules():
            if isinstance(each, SpikingTimeConv | RepConv):
                each.fold()
        return fold_rep_linears(self)
