"""ESPnet's attention decoders and language models as scorers of `imlspike.inference.beam_search`."""

import inspect

import torch
from espnet.nets.pytorch_backend.transformer.attention import MultiHeadedAttention
from espnet.nets.pytorch_backend.transformer.embedding import PositionalEncoding
from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
from espnet2.lm.transformer_lm import TransformerLM

from imlspike.inference.beam_search import rows_of


def decoder_scorer(decoder: torch.nn.Module, memory: torch.Tensor, lengths: torch.Tensor, beam: int):
    """The scorer for an attention decoder of ESPnet: with cached keys and values if it is its Transformer's.

    Args:
        decoder: has ESPnet's `batch_score`.
        memory, lengths: the encoder's output (U, T, C), padded; its lengths (U,).
        beam: hypotheses of each utterance, W.
    """
    if type(decoder) is TransformerDecoder and _cacheable(decoder.embed, decoder.decoders):
        return CachedTransformer(decoder, decoder.decoders, decoder.output_layer, memory, lengths)
    return BatchScorer(decoder, memory, lengths, beam)


def lm_scorer(lm: torch.nn.Module, memory: torch.Tensor, lengths: torch.Tensor, beam: int):
    """The scorer for a language model of ESPnet (`ESPnetLanguageModel.lm`); arguments as `decoder_scorer`."""
    if type(lm) is TransformerLM and _cacheable(lm.encoder.embed, lm.encoder.encoders):
        return CachedTransformer(lm.encoder, lm.encoder.encoders, lm.decoder, embed=lm.embed)
    return BatchScorer(lm, memory[:, :1], torch.ones_like(lengths), beam)  # it doesn't look at the memory


class CachedTransformer:
    """ESPnet's `TransformerDecoder`, or the Transformer in its `TransformerLM`, one token at a time.

    Unlike its `batch_score`, it projects the memory to keys and values once an utterance, not once a step and
    hypothesis, and each token once, not again at every later step.

    Args:
        transformer: has `embed`, `normalize_before` and `after_norm`.
        layers, output: its layers, and what makes logits of their output.
        memory, lengths: as `decoder_scorer`; None: a language model, which never attends to <blank>.
        embed: of tokens, before the Transformer's own.
    """

    ROOM = 32  # tokens; with room for none, there would be a copy of everything at every step

    def __init__(self, transformer, layers, output, memory=None, lengths=None, embed=None):
        self.transformer, self.layers, self.output, self.embed = transformer, layers, output, embed
        self.memory = None
        if memory is not None:
            self.mask = (
                torch.arange(memory.size(1), device=memory.device) < lengths[:, None, None]
            )  # (U, 1, T)
            self.memory = [_heads(layer.src_attn, memory) for layer in layers]
        self.kept: list[torch.Tensor | None] = [None] * len(layers)  # (2, U W, H, N and room, D)
        self.length = 0

    def score(self, prefixes: torch.Tensor) -> torch.Tensor:
        """Log probabilities (U, W, V) of what follows `prefixes` (U, W, N)."""
        last, known = prefixes[..., -1:], None
        if self.memory is None:
            known = prefixes.flatten(0, 1)[:, None] != 0
        x = self._embed_last(self.embed(last) if self.embed else last, prefixes.size(2))
        for number, layer in enumerate(self.layers):
            x = _residual(layer, layer.norm1, x, self._look_back, number, layer.self_attn, known)
            if self.memory:
                x = _residual(layer, layer.norm2, x, self._look_at_memory, number, layer.src_attn)
            x = _residual(layer, layer.norm3 if self.memory else layer.norm2, x, layer.feed_forward)
        if self.transformer.normalize_before:
            x = self.transformer.after_norm(x)
        return self.output(x).log_softmax(-1)

    def advance(self, parents: torch.Tensor, utterances: torch.Tensor | None = None) -> None:
        """Go on with hypotheses, see `Scorer`."""
        if utterances is not None and self.memory:
            self.mask = self.mask[utterances]
            self.memory = [(keys[utterances], values[utterances]) for keys, values in self.memory]
        rows = rows_of(parents, utterances)
        self.kept = [kept.index_select(1, rows) for kept in self.kept]
        self.length += 1

    def _embed_last(self, last: torch.Tensor, length: int) -> torch.Tensor:
        """Embed the last of `length` tokens, (U, W, 1, ...) -> (U, W, C), at its position."""
        *layers, position = self.transformer.embed
        for layer in layers:
            last = layer(last)
        x = last.squeeze(2)
        if isinstance(position, PositionalEncoding):
            position.extend_pe(x.new_empty(1, length))
            x = x * position.xscale + position.pe[0, length - 1]
        return x

    def _look_at_memory(self, x: torch.Tensor, number: int, attention: MultiHeadedAttention) -> torch.Tensor:
        """Attention of the newest tokens (U, W, C) in layer `number` to the memory."""
        keys, values = self.memory[number]
        scores = _query(attention, x) @ keys.transpose(-2, -1) / attention.d_k**0.5
        return attention.forward_attention(values, scores, self.mask)

    def _look_back(
        self, x: torch.Tensor, number: int, attention: MultiHeadedAttention, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Attention of the newest tokens (U, W, C) in layer `number` to all so far.

        Args:
            mask: bool (U W, 1, N), False = not attended to; None: all are.
        """
        rows = x.flatten(0, 1)[:, None]
        new = torch.stack(_heads(attention, rows))
        kept = self.kept[number]
        if kept is None or self.length == kept.size(3):
            room = new.expand(-1, -1, -1, self.ROOM, -1)
            kept = self.kept[number] = room.clone() if kept is None else torch.cat([kept, room], 3)
        kept[:, :, :, self.length] = new[:, :, :, 0]
        keys, values = kept[:, :, :, : self.length + 1]
        scores = _query(attention, rows) @ keys.transpose(-2, -1) / attention.d_k**0.5
        return attention.forward_attention(values, scores, mask).view_as(x)


class BatchScorer:
    """Anything that has ESPnet's `batch_score(ys, states, xs)`, called for all hypotheses together.

    If it takes `xs_lengths` as well, memories of several lengths go into one call, padded; otherwise there is
    a call for each length, without padding. Arguments: see `decoder_scorer`.
    """

    def __init__(self, scorer, memory: torch.Tensor, lengths: torch.Tensor, beam: int):
        self.scorer = scorer
        self.memory = memory.repeat_interleave(beam, 0)
        self.lengths = lengths.repeat_interleave(beam)
        first = [scorer.batch_init_state(x[:length]) for x, length in zip(memory, lengths, strict=True)]
        self.states = [state for state in first for _ in range(beam)]
        self.padded = "xs_lengths" in inspect.signature(scorer.batch_score).parameters

    def score(self, prefixes: torch.Tensor) -> torch.Tensor:
        """Log probabilities (U, W, V) of what follows `prefixes` (U, W, N)."""
        ys = prefixes.flatten(0, 1)
        groups = [torch.arange(len(ys), device=ys.device)]
        if not self.padded:
            groups = [(self.lengths == length).nonzero()[:, 0] for length in self.lengths.unique()]
        scores, order, states = [], torch.cat(groups), []
        for rows in groups:
            lengths = self.lengths[rows]
            known = {"xs_lengths": lengths} if self.padded else {}
            before = [self.states[row] for row in rows.tolist()]
            xs = self.memory[rows, : lengths.max()]
            scored, after = self.scorer.batch_score(ys[rows], before, xs, **known)
            scores.append(scored)
            states += [self.scorer.select_state(after, i) for i in range(len(rows))]
        back = order.argsort()
        self.states = [states[row] for row in back.tolist()]
        return torch.cat(scores)[back].unflatten(0, prefixes.shape[:2])

    def advance(self, parents: torch.Tensor, utterances: torch.Tensor | None = None) -> None:
        """Go on with hypotheses, see `Scorer`."""
        rows = rows_of(parents, utterances)
        self.states = [self.states[row] for row in rows.tolist()]
        if utterances is not None:
            self.memory, self.lengths = self.memory[rows], self.lengths[rows]


def _cacheable(embed: torch.nn.Module, layers: torch.nn.Module) -> bool:
    """True if the cached scorers compute such an embedding and such Transformer layers."""
    attentions = [m for layer in layers for name, m in layer.named_children() if name.endswith("_attn")]
    return (
        isinstance(embed, torch.nn.Sequential)
        and (type(embed[-1]) is PositionalEncoding or not list(embed[-1].parameters()) and not len(embed[-1]))
        and all(type(a) is MultiHeadedAttention and not a.use_flash_attn for a in attentions)
        and not any(layer.concat_after for layer in layers)
    )


def _residual(layer, norm: torch.nn.Module, x: torch.Tensor, part, *arguments) -> torch.Tensor:
    """x + part(x, *arguments), normalised before or after as the layer has it."""
    if layer.normalize_before:
        return x + part(norm(x), *arguments)
    return norm(x + part(x, *arguments))


def _heads(attention: MultiHeadedAttention, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values (B, H, N, D) of x (B, N, C)."""
    keys, values = (
        linear(x).unflatten(-1, (attention.h, attention.d_k)).transpose(1, 2).contiguous()
        for linear in (attention.linear_k, attention.linear_v)
    )
    return attention.k_norm(keys), values


def _query(attention: MultiHeadedAttention, x: torch.Tensor) -> torch.Tensor:
    """Queries (B, H, N, D) of x (B, N, C)."""
    heads = attention.linear_q(x).unflatten(-1, (attention.h, attention.d_k)).transpose(1, 2)
    return attention.q_norm(heads)
