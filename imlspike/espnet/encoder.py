"""The IML-Spikeformer encoder as an ESPnet encoder."""

import inspect

import torch
from espnet.nets.pytorch_backend.transformer.subsampling import TooShortUttError
from espnet2.asr.encoder.abs_encoder import AbsEncoder

from imlspike.data.keys import constructor_keys, unknown_key
from imlspike.models import IMLSpikeformerEncoder


class SpikeformerEncoder(IMLSpikeformerEncoder, AbsEncoder):
    """`imlspike.models.IMLSpikeformerEncoder` with what ESPnet's models, trainer and `Speech2Text` expect.

    The constructor's arguments, the parameters and their names are those of `IMLSpikeformerEncoder`, so the
    entries `encoder.*` of an ESPnet checkpoint load into it once the prefix is taken off.

    Args:
        input_size: features per frame; ESPnet gives it.
        **conf: the other arguments of `IMLSpikeformerEncoder`; `encoder_conf` in a training YAML.

    Raises:
        TypeError: for a key that isn't such an argument, naming the nearest one that is.

    >>> encoder = SpikeformerEncoder(80, output_size=16, attention_heads=2, linear_units=32, num_blocks=1)
    >>> encoder.output_size()
    16
    >>> SpikeformerEncoder(80, kapa=0.5)
    Traceback (most recent call last):
    ...
    TypeError: encoder_conf of iml_spikeformer: unknown key 'kapa'; did you mean 'kappa'? (known: ...
    """

    __signature__ = inspect.signature(IMLSpikeformerEncoder)

    def __init__(self, input_size: int, **conf):
        known = constructor_keys(type(self)) - {"input_size"}
        for key in conf:
            if key not in known:
                raise TypeError(f"encoder_conf of iml_spikeformer: {unknown_key(key, known)}")
        super().__init__(input_size, **conf)
        self._min_frames = self.embed.least_frames()

    def forward(
        self,
        xs_pad: torch.Tensor,
        ilens: torch.Tensor,
        prev_states: torch.Tensor | None = None,
        ctc: torch.nn.Module | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Encode a padded batch of features.

        Args:
            xs_pad: features (B, L, F); what lies beyond an utterance's length has no effect.
            ilens: frames in each utterance (B,).
            prev_states: not used; ESPnet's interface names it.
            ctc: not used; ESPnet's interface names it.

        Returns:
            The encoded utterances (B, N, C), their lengths in tokens (B,), and None.

        Raises:
            TooShortUttError: if an utterance has fewer frames than the subsampling needs for one token.
                ESPnet's decoding catches it; data preparation must leave such utterances out of training.
        """
        shortest = int(ilens.min())
        if shortest < self._min_frames:
            raise TooShortUttError(
                f"has {shortest} frames and is too short for subsampling (it needs at least "
                f"{self._min_frames} frames); utterance {int(ilens.argmin())} of a batch of {len(ilens)}",
                shortest,
                self._min_frames,
            )
        return super().forward(xs_pad, ilens)
