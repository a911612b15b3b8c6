"""The spiking decoder as an ESPnet decoder."""

import inspect

from espnet.nets.scorer_interface import BatchScorerInterface
from espnet2.asr.decoder.abs_decoder import AbsDecoder

from imlspike.data.keys import constructor_keys, unknown_key
from imlspike.models import IMLSpikeformerDecoder


class SpikeformerDecoder(IMLSpikeformerDecoder, AbsDecoder, BatchScorerInterface):
    """`imlspike.models.IMLSpikeformerDecoder` with what ESPnet's models, trainer and beam searches expect.

    The constructor's arguments, the parameters and their names are those of `IMLSpikeformerDecoder`, so the
    entries `decoder.*` of an ESPnet checkpoint load into it once the prefix is taken off.

    Args:
        vocab_size: entries of the token list; ESPnet gives it.
        encoder_output_size: channels of the encoder's output; ESPnet gives it.
        **conf: the other arguments of `IMLSpikeformerDecoder`; `decoder_conf` in a training YAML.

    Raises:
        TypeError: for a key that isn't such an argument, naming the nearest one that is.

    >>> SpikeformerDecoder(7, 16, linear_units=32, num_blocks=1).batch_init_state(None) is None
    True
    >>> SpikeformerDecoder(7, 16, kapa=0.5)
    Traceback (most recent call last):
    ...
    TypeError: decoder_conf of iml_spikeformer: unknown key 'kapa'; did you mean 'kappa'? (known: ...
    """

    __signature__ = inspect.signature(IMLSpikeformerDecoder)

    def __init__(self, vocab_size: int, encoder_output_size: int, **conf):
        known = constructor_keys(type(self)) - {"vocab_size", "encoder_output_size"}
        for key in conf:
            if key not in known:
                raise TypeError(f"decoder_conf of iml_spikeformer: {unknown_key(key, known)}")
        super().__init__(vocab_size, encoder_output_size, **conf)
