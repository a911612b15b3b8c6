"""A spiking Transformer decoder for IML-Spikeformer, so that the whole recogniser spikes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from imlspike.layers import (
    Layout,
    MaskedBatchNorm,
    RepSSA,
    SpikingFeedForward,
    fold_rep_linears,
    hierarchical_decay,
    synchronise_norms,
)
from imlspike.layers.cross_attention import SpikingCrossAttention
from imlspike.models.blocks import Blocks, evaluating
from imlspike.models.neuron_choice import NeuronChoice, imls_arguments
from imlspike.models.record import RecordsArguments
from imlspike.models.spikeformer import sinusoids


class Memory(NamedTuple):
    """A decoder's tensors of U encoder outputs, computed once.

    Attributes:
        kept: for each block, the two tensors of `SpikingCrossAttention.remember`, (U, ...).
        mask: (U, N), True = a real token; None: all are.
        tokens: N, the padded length.
    """

    kept: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor | None
    tokens: int

    @property
    def utterances(self) -> int:
        """U"""
        return len(self.kept[0][0])

    def select(self, utterances: Tensor) -> "Memory":
        """The memory of some of the utterances, by their indices."""
        kept = tuple((a[utterances], b[utterances]) for a, b in self.kept)
        return self._replace(kept=kept, mask=None if self.mask is None else self.mask[utterances])


class DecoderState(NamedTuple):
    """A decoder's state of one hypothesis; its size doesn't depend on the number of tokens.

    Attributes:
        sums: of each block's self-attention, (blocks, H, D, D).
        tokens: how many tokens they hold.
        memory: of the utterances that were decoded together; shared, not copied.
        utterance: which of them the hypothesis is about.
    """

    sums: Tensor
    tokens: int
    memory: Memory
    utterance: int


class SpikeformerDecoderBlock(nn.Module):
    """x + RepSSA(x) on the past, x + cross-attention(x, memory), x + FFN(x).

    Args:
        self_attn: a `RepSSA` of the direction ``past``.
        src_attn: a `SpikingCrossAttention`.
        feed_forward: a `SpikingFeedForward`.
        dropout: rate on the output of each branch.

    Forward:
        x: (K, C) packed tokens.
        layout: which of them are one sequence.
        kept, mask: of the memory, as `SpikingCrossAttention` takes them.

    Returns:
        (K, C)

    >>> self_attn = RepSSA(8, torch.tensor([0.5, 0.9]), direction="past")
    >>> block = SpikeformerDecoderBlock(self_attn, SpikingCrossAttention(8, 2), SpikingFeedForward(8, 16))
    >>> kept = block.src_attn.remember(torch.ones(7, 8), Layout(torch.tensor([7]), 7))
    >>> block(torch.randn(3, 8), Layout(torch.tensor([3]), 3), kept, None).shape
    torch.Size([3, 8])
    """

    def __init__(
        self,
        self_attn: RepSSA,
        src_attn: SpikingCrossAttention,
        feed_forward: SpikingFeedForward,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.self_attn, self.src_attn, self.feed_forward = self_attn, src_attn, feed_forward
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, layout: Layout, kept: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        x = x + self.dropout(self.self_attn(x, layout))
        return self._heard(x, layout, kept, mask)

    def step(
        self,
        x: Tensor,
        state: Tensor,
        past: int,
        about: Layout,
        kept: tuple[Tensor, Tensor],
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The next token of R sequences.

        Args:
            x: (R, C).
            state, past: of self-attention, as `DecayAttention.step` takes them.
            about: which of the rows are about the same utterance of the memory.
            kept, mask: of the memory.

        Returns:
            (R, C) and the next state.
        """
        seen, state = self.self_attn.step(x, state, past)
        return self._heard(x + self.dropout(seen), about, kept, mask), state

    def _heard(self, x, about, kept, mask):
        x = x + self.dropout(self.src_attn(x, about, kept, mask))
        return x + self.dropout(self.feed_forward(x, about))


class IMLSpikeformerDecoder(RecordsArguments):
    r"""A spiking decoder beside `IMLSpikeformerEncoder`, with the argument names of ESPnet's Transformer
    decoder.

    The paper describes only an encoder (its decoder is a Transformer's); this decoder is ours, made of the
    same parts: causal re-parameterised self-attention under the decay mask, spiking attention to the
    encoder's output, spiking feed-forward. Tokens enter by a table look-up; the output layer is driven by
    spikes.

    One step of decoding works on a state of constant size (`DecoderState`), where a Transformer keeps all
    past tokens. The sums in it are real numbers, so that a step multiplies where the same attention over a
    whole transcript only accumulates spikes.

    Args:
        vocab_size: V, entries of the token list.
        encoder_output_size: C, channels of the encoder's output and of a token.
        attention_heads: H.
        linear_units: width of the feed-forward.
        num_blocks: number of blocks.
        dropout_rate: on the branches and inside the feed-forward.
        positional_dropout_rate: on the tokens that enter the first block.
        self_attention_dropout_rate: on what self-attention mixes (there are no weights that sum to one).
        src_attention_dropout_rate: on the weights of cross-attention.
        input_layer: ``embed``.
        cross_attention: ``softmax`` or ``linear``, see `SpikingCrossAttention`.
        positions: ``sinusoidal``, added to the tokens, or ``none``.
        neuron, neuron_conf, levels: as of `IMLSpikeformerEncoder`.
        threshold, kappa, threshold_value, detach_threshold, amplitude: of `IMLS`, for every neuron.
            The threshold is one of ``token``, ``fixed``, ``learned``: one over the utterance would know
            tokens to come.
        qk: which of query and key fire in self-attention: ``key``, ``both`` or ``none``. With ``both`` the
            queries of cross-attention fire, too.
        decay, decay_a, decay_b, decay_c: of `imlspike.layers.hierarchical_decay`.
        attention_mode: ``auto``, ``quadratic`` or ``chunked``, for self-attention in training.
        rep_branches: of `RepLinear`.
        residual_gain: first scale of the batch norms that end a branch.
        sync_norms: whether processes that train together share the statistics of their batch norms.
        layer_drop_rate, gradient_checkpoint_layers: of `Blocks`.

    Forward:
        hs_pad (B, M, C) encoder output and its lengths hlens (B,); tokens ys_in_pad (B, N) int64 with <sos>
        in front and ys_in_lens (B,). Lengths may be None: no padding. What padding holds has no effect.
        `return_hs`, `return_all_hs`: give out the last norm's output, or each block's, too.

    Returns:
        logits (B, N, V), zero at padding; ys_in_lens. In place of the logits (logits, (B, N, C)) with
        `return_hs`, (logits, [(B, N, C) ...]) with `return_all_hs`.

    Raises:
        ValueError: on an argument outside its choices.

    >>> decoder = IMLSpikeformerDecoder(7, 16, attention_heads=2, linear_units=32, num_blocks=2).eval()
    >>> hs, ys = torch.randn(2, 9, 16), torch.tensor([[6, 1, 2], [6, 3, 3]])
    >>> logits, _ = decoder(hs, torch.tensor([9, 5]), ys, torch.tensor([3, 3]))
    >>> scores, states = decoder.batch_score(ys, [None, None], hs, torch.tensor([9, 5]))
    >>> torch.allclose(scores, logits[:, -1].log_softmax(-1), atol=1e-5)
    True
    """

    def __init__(
        self,
        vocab_size: int,
        encoder_output_size: int,
        attention_heads: int = 4,
        linear_units: int = 2048,
        num_blocks: int = 6,
        dropout_rate: float = 0.1,
        positional_dropout_rate: float = 0.1,
        self_attention_dropout_rate: float = 0.0,
        src_attention_dropout_rate: float = 0.0,
        input_layer: str = "embed",
        cross_attention: str = "softmax",
        positions: str = "sinusoidal",
        neuron: str = "imls",
        neuron_conf: dict[str, Any] | None = None,
        levels: int = 6,
        threshold: str = "token",
        kappa: float = 0.45,
        threshold_value: float = 1.0,
        detach_threshold: bool = True,
        amplitude: str = "unit",
        qk: str = "key",
        decay: str = "hierarchical",
        decay_a: float = 1.0,
        decay_b: float = 5.0,
        decay_c: float = 1.0,
        attention_mode: str = "auto",
        rep_branches: Sequence[str] = ("linear", "identity"),
        residual_gain: float = 0.25,
        sync_norms: bool = True,
        layer_drop_rate: float = 0.0,
        gradient_checkpoint_layers: Sequence[int] = (),
    ):
        super().__init__()
        if input_layer != "embed":
            raise ValueError(f"input_layer must be embed, got {input_layer!r}")
        if positions not in ("none", "sinusoidal"):
            raise ValueError(f"positions must be none or sinusoidal, got {positions!r}")
        if threshold in ("channel", "layer"):
            raise ValueError(
                f"threshold must be token, fixed or learned in a decoder, got {threshold!r}: "
                "one over the whole utterance would know tokens to come"
            )
        channels, self.positions = encoder_output_size, positions
        given = (threshold, kappa, threshold_value, detach_threshold, amplitude)
        conf, meaning = imls_arguments(neuron, neuron_conf, *given)
        self.record(
            **dict(attention_heads=attention_heads, cross_attention=cross_attention, positions=positions),
            **dict(levels=levels, qk=qk, decay=decay, **meaning),
            **({} if decay == "none" else dict(decay_a=decay_a, decay_b=decay_b, decay_c=decay_c)),
        )
        neurons = NeuronChoice(neuron, levels, conf, {}, one_pass=True)
        rep = dict(branches=rep_branches, gain=residual_gain, neuron=neurons)
        self.embed = nn.Embedding(vocab_size, channels)
        self.dropout = nn.Dropout(positional_dropout_rate)
        self.memory_neuron = neurons()
        blocks = []
        for layer in range(num_blocks):
            gamma = hierarchical_decay(layer, num_blocks, attention_heads, decay_a, decay_b, decay_c, decay)
            attention = ("past", attention_mode, self_attention_dropout_rate)
            self_attn = RepSSA(channels, gamma, qk, *attention, **rep)
            src_attn = SpikingCrossAttention(
                channels,
                attention_heads,
                cross_attention,
                qk == "both",
                src_attention_dropout_rate,
                **rep,
            )
            feed_forward = SpikingFeedForward(channels, linear_units, dropout_rate, **rep)
            blocks.append(SpikeformerDecoderBlock(self_attn, src_attn, feed_forward, dropout_rate))
        self.blocks = Blocks(blocks, layer_drop_rate, 0.0, gradient_checkpoint_layers, sync_norms)
        self.after_norm, self.output_neuron = MaskedBatchNorm(channels), neurons()
        self.output_layer = nn.Linear(channels, vocab_size)
        synchronise_norms(self, sync_norms)

    def forward(
        self,
        hs_pad: Tensor,
        hlens: Tensor | None,
        ys_in_pad: Tensor,
        ys_in_lens: Tensor | None,
        return_hs: bool = False,
        return_all_hs: bool = False,
    ) -> tuple[Any, Tensor | None]:
        layout = Layout(ys_in_lens, ys_in_pad.shape[1], len(ys_in_pad))
        memory = self.remember(hs_pad, hlens)
        position = torch.arange(layout.tokens, device=ys_in_pad.device).expand(layout.batch, -1)
        x, hidden = self._tokens(layout.pack(ys_in_pad), layout.pack(position)), []
        for block, kept in zip(self.blocks.passes(), memory.kept, strict=True):
            x = block(x, layout, kept, memory.mask)
            hidden += [layout.unpack(x)] if return_all_hs and not return_hs else []
        x = self.after_norm(x)
        logits, hidden = layout.unpack(self._logits(x)), layout.unpack(x) if return_hs else hidden
        return (logits, hidden) if return_hs or return_all_hs else logits, ys_in_lens

    def remember(self, hs_pad: Tensor, hlens: Tensor | None) -> Memory:
        """The memory of encoder outputs (U, M, C) of hlens (U,) tokens."""
        hlens = None if hlens is None else hlens.to(hs_pad.device)
        layout = Layout(hlens, hs_pad.shape[1], len(hs_pad))
        spikes = self.memory_neuron(layout.pack(hs_pad))
        kept = tuple(block.src_attn.remember(spikes, layout) for block in self.blocks)
        return Memory(kept, layout.mask, layout.tokens)

    def _tokens(self, tokens, positions):
        """(K,) tokens and their positions -> (K, C)"""
        x = self.embed(tokens)
        if self.positions == "sinusoidal":
            x = x + sinusoids(positions, x.shape[1]).to(x.dtype)
        return self.dropout(x)

    def _logits(self, x):
        return self.output_layer(self.output_neuron(x))

    def score(self, ys: Tensor, state: DecoderState | None, x: Tensor, return_hs: bool = False) -> tuple:
        """`batch_score` of one hypothesis (ESPnet's interface): tokens (n,), its state, memory (M, C) ->
        log-probabilities (V,), with `return_hs` also (1, C), and the next state."""
        scores, (after,) = self.batch_score(ys[None], [state], x[None], return_hs=return_hs)
        return (scores[0][0], scores[1], after) if return_hs else (scores[0], after)

    @torch.no_grad()
    def batch_score(
        self,
        ys: Tensor,
        states: Sequence[DecoderState | None],
        xs: Tensor,
        xs_lengths: Tensor | None = None,
        return_hs: bool = False,
    ) -> tuple[Any, list[DecoderState]]:
        """Scores of hypotheses' next tokens; they may be about different utterances (ESPnet's interface).

        Args:
            ys: tokens so far (R, n) int64, <sos> in front.
            states: of each hypothesis, from the call before, in any order or selection; None at the start.
            xs: (R, M, C) encoder output that each hypothesis is about. It is read at the start, and again
                only when it has grown (streaming) or states of searches that began apart come together.
            xs_lengths: (R,) tokens of each; None: no padding.
            return_hs: give out the last norm's output (R, C), too.

        Returns:
            log-probabilities (R, V), with `return_hs` (log-probabilities, (R, C)), and the next states; those
            of evaluation, in training too.

        Raises:
            ValueError: if states are of different lengths, or hold all of `ys` already.
        """
        done = {0 if state is None else state.tokens for state in states}
        if len(done) != 1 or max(done) >= ys.shape[1]:
            raise ValueError(f"states hold {sorted(done)} tokens; expected one number below {ys.shape[1]}")
        with evaluating(self):
            return self._score(ys, states, xs, xs_lengths, return_hs, *done)

    def _score(self, ys, states, xs, xs_lengths, return_hs, done):
        memory, utterance = self._memory_of(states, xs, xs_lengths)
        # Rows of one utterance side by side: they attend to its memory in one product, without copies of it.
        order = utterance.argsort(stable=True)
        counts = utterance.bincount(minlength=memory.utterances)
        about = Layout(counts, int(counts.max()))
        sums = list(self._sums_of([states[row] for row in order.tolist()], xs).unbind(1))
        for past in range(done, ys.shape[1]):
            x = self._tokens(ys[order, past], torch.full_like(order, past))
            for layer, (block, kept) in enumerate(zip(self.blocks, memory.kept, strict=True)):
                x, sums[layer] = block.step(x, sums[layer], past, about, kept, memory.mask)
        back, sums = order.argsort(), torch.stack(sums, 1)
        rows = zip(back.tolist(), utterance.tolist(), strict=True)
        # Copies: a finished hypothesis that is kept must not keep the whole batch.
        after = [DecoderState(sums[row].clone(), ys.shape[1], memory, u) for row, u in rows]
        hidden = self.after_norm(x)
        scores = self._logits(hidden)[back].log_softmax(-1)
        return (scores, hidden[back]) if return_hs else scores, after

    def _memory_of(self, states, xs, xs_lengths):
        """The memory of the utterances that the rows are about, and which of them each row is about (R,)."""
        memory = states[0] and states[0].memory
        shared = len({id(state and state.memory) for state in states}) == 1
        if memory is not None and shared and memory.tokens >= xs.shape[1]:
            about = torch.tensor([state.utterance for state in states], device=xs.device)
            used, about = about.unique(return_inverse=True)
            return (memory if len(used) == memory.utterances else memory.select(used)), about
        if xs_lengths is None:
            xs_lengths = torch.full((len(xs),), xs.shape[1], device=xs.device)
        # Neighbours with the same encoder output are hypotheses about one utterance.
        new = (xs[1:] != xs[:-1]).flatten(1).any(1) | (xs_lengths[1:] != xs_lengths[:-1]).to(xs.device)
        about = nn.functional.pad(new.cumsum(0), (1, 0))
        first = nn.functional.pad(new, (1, 0), value=True)
        return self.remember(xs[first], xs_lengths.to(xs.device)[first]), about

    def _sums_of(self, states, like):
        """(R, blocks, H, D, D): the states' sums, zero for the states None."""
        if states[0] is not None:
            return torch.stack([state.sums for state in states])
        heads = self.blocks[0].self_attn.heads
        width = self.embed.embedding_dim // heads
        return like.new_zeros(len(states), len(self.blocks), heads, width, width)

    def reparameterize(self) -> "IMLSpikeformerDecoder":
        """Fold branches and batch norms into the linear maps they belong to, in place.

        The decoder is put into evaluation mode; its output stays the same up to rounding. Returns the
        decoder.
        """
        self.eval()
        return fold_rep_linears(self)
