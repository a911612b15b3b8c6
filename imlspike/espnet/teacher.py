"""Teacher forcing of a trained SpikeVoice: natural durations, pitch and energy in place of predicted ones."""

from collections.abc import Sequence

from torch import Tensor

from imlspike.espnet import register
from imlspike.inference.voice import TrainedVoice


class Teacher:
    """Speech of a voice with the rhythm, pitch and energy of a recording.

    Durations are given, or those of the voice's aligner; pitch and energy are extracted by what ESPnet
    extracted them with in training, averaged over the durations and normalised alike.

    Raises:
        ImportError: without ESPnet.
        ValueError: a voice that was trained without pitch and energy of a recording.
    """

    def __init__(self, voice: TrainedVoice):
        register()
        from espnet2.tasks import tts

        from imlspike.espnet.tts import EXTRACTORS, SpikeVoiceTTS

        self.voice, config, conf = voice, voice.recording, dict(voice.model.config)
        sizes = conf.pop("vocab_size"), conf.pop("n_mels")
        self.tts = SpikeVoiceTTS(*sizes, prior_scale=config.get("prior_scale", 1.0), **conf)
        self.tts.spikevoice = voice.model
        self.extractors = {}
        for name, (_, average) in EXTRACTORS.items():
            kind, conf = config.get(f"{name}_extract"), config.get(f"{name}_extract_conf") or {}
            if kind is None:
                told = f"doesn't say (recording: {name}_extract) what finds the {name}"
                raise ValueError(f"{voice.name}: {told}")
            extractor = getattr(tts, f"{name}_extractor_choices").get_class(kind)
            self.extractors[name] = extractor(**conf | {average: False})

    def __call__(
        self, text: Tensor, wave: Tensor, mel: Tensor, speaker: int | None, durations: Sequence[int] | None
    ) -> tuple[Tensor, Tensor]:
        """Return the normalised log-mel (L, M) and the durations (N,) in frames.

        Args:
            text: numbers of symbols (N,) int64.
            wave, mel: the recording (S,), its log-mel (L, M).
            speaker: number, for a voice with speakers.
            durations: frames of each symbol (N); None: the aligner's.

        Raises:
            ValueError: durations of another number or sum, or without them no aligner, or more symbols than
                frames.
        """
        if durations is not None and sum(durations) != len(mel):
            raise ValueError(f"the durations add up to {sum(durations)} frames; the recording has {len(mel)}")
        like, frames, given = self.voice.model.mel.weight, text.new_tensor([len(mel)]), {}
        statistics = self.voice.model.adaptor.statistics
        for (name, extract), (mean, deviation) in zip(self.extractors.items(), statistics, strict=True):
            values = extract(wave[None], feats_lengths=frames)[0][0]
            given[name] = ((values - mean) / deviation).to(like)
        said = self.tts.inference(
            text,
            feats=((mel - self.voice.mean) / self.voice.deviation).to(like),
            durations=None if durations is None else text.new_tensor(durations),
            sids=None if speaker is None else text.new_tensor([speaker]),
            use_teacher_forcing=True,
            **given,
        )
        return said["feat_gen"], said["duration"]
