"""The IML-Spikeformer encoder and the spiking decoder as ESPnet's.

Constructor's arguments, parameters and their names are those of `imlspike.models`, so the entries `encoder.*`
and `decoder.*` of an ESPnet checkpoint load into these once the prefix is taken off.
"""

import inspect
import logging
from typing import Any

import torch
from espnet.nets.pytorch_backend.nets_utils import make_pad_mask
from espnet.nets.pytorch_backend.transformer.subsampling import TooShortUttError
from espnet.nets.scorer_interface import BatchScorerInterface, MaskParallelScorerInterface
from espnet2.asr.ctc import CTC
from espnet2.asr.decoder.abs_decoder import AbsDecoder
from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from imlspike.data.keys import constructor_keys, unknown_key
from imlspike.models import IMLSpikeformerDecoder, IMLSpikeformerEncoder
from imlspike.models.blocks import evaluating

FROM_ESPNET = {"input_size", "vocab_size", "encoder_output_size", "idim", "odim"}  # not of configurations
AS_ALWAYS = {"use_output_layer": True, "ctc_trim": False}  # ESPnet's keys that can't be otherwise here
_log = logging.getLogger(__name__)


def _without_meaning(ours: type, *theirs: type) -> frozenset[str]:
    """Keys of ESPnet's classes that ours doesn't have."""
    return frozenset().union(*map(constructor_keys, theirs)) - constructor_keys(ours) - FROM_ESPNET


class SpikeformerEncoder(IMLSpikeformerEncoder, AbsEncoder):
    """`imlspike.models.IMLSpikeformerEncoder` with what ESPnet's models, trainer and `Speech2Text` expect.

    Args:
        input_size: features per frame, from ESPnet; other arguments are `encoder_conf` in a training YAML.

    Attributes:
        ignored: keys of ESPnet's Transformer and Conformer that have no meaning here; one line in the log
            says which were given.

    Raises:
        TypeError: for a key that isn't such an argument, naming the nearest one that is, or a value that
            isn't of its type.
    """

    __signature__ = inspect.signature(IMLSpikeformerEncoder)
    ignored = _without_meaning(IMLSpikeformerEncoder, TransformerEncoder, ConformerEncoder)

    def __init__(self, input_size: int, **conf):
        conf = check_arguments("encoder_conf of iml_spikeformer", conf, IMLSpikeformerEncoder, self.ignored)
        super().__init__(input_size, **conf)
        self._min_frames = self.embed.least_frames()

    def forward(
        self,
        xs_pad: torch.Tensor,
        ilens: torch.Tensor,
        prev_states: None = None,
        masks: torch.Tensor | None = None,
        ctc: CTC | None = None,
        return_all_hs: bool = False,
    ) -> tuple[Any, torch.Tensor, None]:
        """Encode a padded batch.

        An utterance of too few frames for a token gets one, as if zeros followed it.

        Args:
            xs_pad, ilens: features (B, L, F), frames of each utterance (B,).
            prev_states: must be None.
            masks: (B, L), True = padding at an utterance's end, in place of `ilens`.
            ctc: for `interctc_use_conditioning`; of no use otherwise.
            return_all_hs: see `IMLSpikeformerEncoder`.

        Returns:
            The encoded utterances (B, N, C), with intermediate outputs as `IMLSpikeformerEncoder` gives them
            out, their lengths in tokens (B,), and None.

        Raises:
            TooShortUttError: if the whole batch has fewer frames than the subsampling needs for one token.
                ESPnet's decoding catches it.
            ValueError: for states, and for masks that aren't padding.
        """
        if prev_states is not None:
            raise ValueError("prev_states: this encoder has no states; decode whole utterances")
        frames, least = xs_pad.shape[1], self._min_frames
        if masks is not None:
            ilens = (~masks).sum(1)
            if not torch.equal(make_pad_mask(ilens, maxlen=masks.shape[1]).to(masks.device), masks):
                raise ValueError("masks: only padding at the ends of utterances can be masked")
        if frames < least:
            raise TooShortUttError(
                f"has {frames} frames and is too short for subsampling (it needs at least {least} frames)",
                frames,
                least,
            )
        ilens = ilens.to(xs_pad.device)
        if least > 1 and int(ilens.min()) < least:
            padding = torch.arange(frames, device=xs_pad.device) >= ilens[:, None]
            xs_pad, ilens = xs_pad.masked_fill(padding[..., None], 0), ilens.clamp(min=least)
        return super().forward(xs_pad, ilens, return_all_hs, ctc)


class SpikeformerDecoder(
    IMLSpikeformerDecoder, AbsDecoder, BatchScorerInterface, MaskParallelScorerInterface
):
    """`imlspike.models.IMLSpikeformerDecoder` with what ESPnet's models, trainer and beam searches expect.

    Args:
        vocab_size, encoder_output_size: tokens and channels, from ESPnet; other arguments are
            `decoder_conf` in a training YAML.

    Attributes:
        ignored: as of `SpikeformerEncoder`, keys of ESPnet's Transformer decoder.

    Raises:
        TypeError: as `SpikeformerEncoder`.
    """

    __signature__ = inspect.signature(IMLSpikeformerDecoder)
    ignored = _without_meaning(IMLSpikeformerDecoder, TransformerDecoder)

    def __init__(self, vocab_size: int, encoder_output_size: int, **conf):
        conf = check_arguments("decoder_conf of iml_spikeformer", conf, IMLSpikeformerDecoder, self.ignored)
        super().__init__(vocab_size, encoder_output_size, **conf)
        self._output_size_bf_softmax = encoder_output_size  # what ESPnet's multi-decoder asks for

    def forward_one_step(
        self,
        tgt: torch.Tensor,
        tgt_mask: torch.Tensor | None,
        memory: torch.Tensor,
        memory_mask: torch.Tensor | None = None,
        *,
        cache: list | None = None,
        return_hs: bool = False,
    ) -> tuple[Any, list]:
        """Score what follows tokens (B, n), as `batch_score` does; the cache is its states.

        Args:
            tgt_mask: (1 or B, n, n), causal.
            memory, memory_mask: (B, M, C), and (B, 1, M), True = a real token before the padding.
        """
        if tgt_mask is not None and not tgt_mask[..., -1, :].all():
            raise ValueError("tgt_mask: every token before the next one is attended to")
        lengths = None if memory_mask is None else memory_mask[:, 0].sum(1)
        return self.batch_score(tgt, cache or [None] * len(tgt), memory, lengths, return_hs)

    @torch.no_grad()
    def batch_score_partially_AR(
        self, ys: torch.Tensor, states: Any, xs: torch.Tensor, yseq_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score what follows tokens (R, n) of different lengths (R,); nothing is kept in the states."""
        with evaluating(self):
            logits, _ = self(xs, None, ys, yseq_lengths)
        last = (yseq_lengths - 1)[:, None, None].expand(-1, 1, logits.shape[2])
        return logits.gather(1, last)[:, 0].log_softmax(-1), ys.new_zeros(len(ys), 1)


def check_arguments(
    where: str, conf: dict[str, Any], cls: type, ignored: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The arguments of `cls` in `conf`, without those that are `ignored`, of which the log tells.

    Raises:
        TypeError: for a key that isn't an argument of `cls`, or one that ESPnet gives itself, for a value of
            another type, and for ESPnet's keys that mean something else here.

    >>> check_arguments("encoder_conf", {"kapa": 0.5}, IMLSpikeformerEncoder)
    Traceback (most recent call last):
    TypeError: encoder_conf: unknown key 'kapa'; did you mean 'kappa'? (known: ...
    """
    parameters = inspect.signature(cls).parameters
    known = parameters.keys() - FROM_ESPNET
    for key, value in conf.items():
        if key not in known | ignored:
            raise TypeError(f"{where}: {unknown_key(key, known | ignored)}")
        if AS_ALWAYS.get(key, value) != value:
            raise TypeError(f"{where}: {key} must be {AS_ALWAYS[key]} here")
        wanted = parameters[key].annotation if key in known else inspect.Parameter.empty
        if wanted is inspect.Parameter.empty:
            continue
        try:
            check_type(value, wanted, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except TypeCheckError as error:
            raise TypeError(f"{where}: {key} is {value!r}; it {error}") from None
        if isinstance(value, bool) and wanted in (int, float):  # True is an int for Python
            raise TypeError(f"{where}: {key} is {value!r}; it is not a number")
    if unused := sorted(ignored & conf.keys()):
        _log.warning(f"{where}: without meaning here and not used: {', '.join(unused)}")
    return {key: value for key, value in conf.items() if key not in ignored}
