"""ESPnet's text-to-speech model, with errors that say where, and teacher forcing without durations."""

from typing import Any

from espnet2.tts.espnet_model import ESPnetTTSModel
from torch import Tensor

from imlspike.espnet.tts import EXTRACTORS, SpikeVoiceTTS


class TTSModel(ESPnetTTSModel):
    """`ESPnetTTSModel`, the same for all that works with it; `register` puts it in its place.

    A batch that the TTS model refuses is named by its utterances. Pitch that can't be averaged is an error
    before training. SpikeVoice's aligner gives the durations for teacher forcing where the data have none.
    Its weights hold what pitch and energy are normalised by, in which its controls are told.

    Raises (in training, statistics and inference):
        ValueError: pitch or energy shall be averaged over durations that the data don't have, or unvoiced
            frames without a pitch shall be averaged by SpikeVoice.
    """

    def __init__(self, *args, **parts):
        super().__init__(*args, **parts)
        normalize = (self.pitch_normalize, self.energy_normalize)
        if isinstance(self.tts, SpikeVoiceTTS) and None not in normalize:
            self.tts.spikevoice.adaptor.set_statistics(*((float(n.mean), float(n.std)) for n in normalize))

    def forward(self, *args, utt_id: list[str] | None = None, **batch) -> tuple[Tensor, dict, Tensor]:
        """Loss, statistics and weight of a batch; see ESPnet's class."""
        self._check_extractors(batch.get("durations"))
        try:
            return super().forward(*args, **batch)
        except ValueError as error:
            if not utt_id:
                raise
            raise ValueError(f"{error} (the batch, from utterance 0: {', '.join(utt_id)})") from error

    def collect_feats(self, *args, **batch) -> dict[str, Tensor]:
        """Features, pitch and energy of a batch; see ESPnet's class."""
        self._check_extractors(batch.get("durations"))
        return super().collect_feats(*args, **batch)

    def inference(
        self, text: Tensor, speech: Tensor | None = None, durations: Tensor | None = None, **options: Any
    ) -> dict[str, Tensor]:
        """Speak; see ESPnet's class. Options: other inputs, `use_teacher_forcing` and `alpha`."""
        if options.get("use_teacher_forcing"):
            if durations is None and speech is not None and isinstance(self.tts, SpikeVoiceTTS):
                durations = self.align(text, speech)
            self._check_extractors(durations)
        return super().inference(text, speech=speech, durations=durations, **options)

    def align(self, text: Tensor, speech: Tensor) -> Tensor:
        """Frames (N,) int64 of tokens (N,), found by SpikeVoice's aligner in samples (S,) or features (L, M).

        Raises:
            ValueError: the model has no aligner, or there are more tokens than frames.
        """
        feats = speech[None] if self.feats_extract is None else self.feats_extract(speech[None])[0]
        if self.normalize is not None:
            feats = self.normalize(feats)[0]
        return self.tts.align(text, feats[0])

    def _check_extractors(self, durations: Tensor | None) -> None:
        for name, (_, average) in EXTRACTORS.items():
            if durations is None and getattr(getattr(self, f"{name}_extract"), average, False):
                raise ValueError(
                    f"{average} needs durations, which the data don't have: set it to false in "
                    "pitch_extract_conf or energy_extract_conf; SpikeVoice averages over learned durations"
                )
        if isinstance(self.tts, SpikeVoiceTTS) and not getattr(self.pitch_extract, "use_continuous_f0", True):
            raise ValueError(
                "pitch_extract_conf: use_continuous_f0 must be true (ESPnet's default): once normalised, the "
                "zeros of unvoiced frames can't be told from pitch"
            )
