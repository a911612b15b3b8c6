"""The IML-Spikeformer encoder and the spiking decoder as ESPnet's.

Constructor's arguments, parameters and their names are those of `imlspike.models`, so the entries `encoder.*`
and `decoder.*` of an ESPnet checkpoint load into these once the prefix is taken off.
"""

import inspect
from typing import Any

import torch
from espnet.nets.pytorch_backend.transformer.subsampling import TooShortUttError
from espnet.nets.scorer_interface import BatchScorerInterface
from espnet2.asr.decoder.abs_decoder import AbsDecoder
from espnet2.asr.encoder.abs_encoder import AbsEncoder

from imlspike.data.keys import constructor_keys, unknown_key
from imlspike.models import IMLSpikeformerDecoder, IMLSpikeformerEncoder


class SpikeformerEncoder(IMLSpikeformerEncoder, AbsEncoder):
    """`imlspike.models.IMLSpikeformerEncoder` with what ESPnet's models, trainer and `Speech2Text` expect.

    Args:
        input_size: features per frame, from ESPnet; other arguments are `encoder_conf` in a training YAML.

    Raises:
        TypeError: for a key that isn't such an argument, naming the nearest one that is.
    """

    __signature__ = inspect.signature(IMLSpikeformerEncoder)

    def __init__(self, input_size: int, **conf):
        check_arguments("encoder_conf of iml_spikeformer", conf, IMLSpikeformerEncoder)
        super().__init__(input_size, **conf)
        self._min_frames = self.embed.least_frames()

    def forward(
        self, xs_pad: torch.Tensor, ilens: torch.Tensor, prev_states: Any = None, ctc: Any = None
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Encode a padded batch: features (B, L, F), frames of each utterance (B,); the rest isn't used.

        Returns:
            The encoded utterances (B, N, C), their lengths in tokens (B,), and None.

        Raises:
            TooShortUttError: if an utterance has fewer frames than the subsampling needs for one token.
                ESPnet's decoding catches it; data preparation must leave such utterances out of training.
        """
        shortest, least = int(ilens.min()), self._min_frames
        if shortest < least:
            raise TooShortUttError(
                f"has {shortest} frames and is too short for subsampling (it needs at least {least} frames); "
                f"utterance {int(ilens.argmin())} of a batch of {len(ilens)}",
                shortest,
                least,
            )
        return super().forward(xs_pad, ilens)


class SpikeformerDecoder(IMLSpikeformerDecoder, AbsDecoder, BatchScorerInterface):
    """`imlspike.models.IMLSpikeformerDecoder` with what ESPnet's models, trainer and beam searches expect.

    Args:
        vocab_size, encoder_output_size: tokens and channels, from ESPnet; other arguments are
            `decoder_conf` in a training YAML.

    Raises:
        TypeError: for a key that isn't such an argument, naming the nearest one that is.
    """

    __signature__ = inspect.signature(IMLSpikeformerDecoder)

    def __init__(self, vocab_size: int, encoder_output_size: int, **conf):
        check_arguments("decoder_conf of iml_spikeformer", conf, IMLSpikeformerDecoder)
        super().__init__(vocab_size, encoder_output_size, **conf)


def check_arguments(where: str, conf: dict[str, Any], cls: type) -> None:
    """Raise TypeError for a key that isn't an argument of `cls`, or one that ESPnet gives itself.

    >>> check_arguments("encoder_conf", {"kapa": 0.5}, IMLSpikeformerEncoder)
    Traceback (most recent call last):
    TypeError: encoder_conf: unknown key 'kapa'; did you mean 'kappa'? (known: ...
    """
    known = constructor_keys(cls) - {"input_size", "vocab_size", "encoder_output_size", "idim", "odim"}
    for key in conf:
        if key not in known:
            raise TypeError(f"{where}: {unknown_key(key, known)}")
