"""SpikeVoice as an ESPnet text-to-speech model; ESPnet's model around it, with errors that say where."""

import inspect
from functools import partial
from typing import Any

import torch
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.tts.abs_tts import AbsTTS
from espnet2.tts.espnet_model import ESPnetTTSModel
from torch import Tensor

from imlspike.data.controls import Controls
from imlspike.espnet.asr import check_arguments
from imlspike.losses import SpikeVoiceLoss, average_by_duration, learned_durations
from imlspike.models.spikevoice import SpikeVoice

# Of pitch and energy ESPnet's usual extractors, and their option to average over durations.
EXTRACTORS = {"pitch": ("dio", "use_token_averaged_f0"), "energy": ("energy", "use_token_averaged_energy")}


def _signature() -> inspect.Signature:
    """SpikeVoice's arguments with ESPnet's names of the two that ESPnet gives, and those of the loss."""
    new = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)
    sizes, names = {"vocab_size": "idim", "n_mels": "odim"}, inspect.signature(SpikeVoice).parameters
    given = [new(name) for name in (*sizes.values(), *(name for name in names if name not in sizes))]
    return inspect.Signature([*given, new("loss_weights"), new("prior_scale")])


class SpikeVoiceTTS(AbsTTS):
    """`imlspike.models.spikevoice.SpikeVoice` with its loss, as ESPnet's TTS task trains and uses it.

    With durations (ESPnet's input `durations`) it trains by them, best with `aligner: false`; without, the
    aligner is trained along and finds them in the batch. Pitch and energy come a value per frame
    (`use_token_averaged_f0: false`, `use_token_averaged_energy: false`) and are averaged here over the frames
    of each token; where durations are given, ESPnet may do it, too. They must be normalised
    (`pitch_normalize: global_mvn`, `energy_normalize: global_mvn`); what lies outside `pitch_range` and
    `energy_range` is moved to the nearer end. There is no end symbol: the frames of one (in durations of
    ESPnet's models, N + 1 of them) go to the last token.

    Args:
        idim: entries of the token list; odim: mel bands M; ESPnet gives both.
        loss_weights: of `SpikeVoiceLoss`.
        prior_scale: of `beta_binomial_prior`.
        **conf: the other arguments of `SpikeVoice`; all of these `tts_conf` in a training YAML. `speakers`
            is the number of lines of ESPnet's spk2sid.

    Attributes:
        spikevoice: the core model; the entries `tts.spikevoice.*` of an ESPnet checkpoint load into it.

    Raises:
        TypeError: for a key that isn't such an argument, naming the nearest one that is.
        ValueError: for a value outside its choices.
    """

    __signature__ = _signature()

    def __init__(
        self, idim: int, odim: int, loss_weights: dict | None = None, prior_scale: float = 1.0, **conf
    ):
        super().__init__()
        where = "tts_conf of spikevoice"
        check_arguments(where, conf, type(self))
        self.spikevoice = SpikeVoice.from_config({"vocab_size": idim, "n_mels": odim, **conf}, where)
        self.loss = SpikeVoiceLoss(loss_weights)
        self.prior_scale = prior_scale
        # What ESPnet's Text2Speech asks: which inputs besides the text this model needs.
        self.spks, self.langs, self.spk_embed_dim = conf.get("speakers"), None, None

    def forward(
        self,
        text: Tensor,
        text_lengths: Tensor,
        feats: Tensor,
        feats_lengths: Tensor,
        durations: Tensor | None = None,
        durations_lengths: Tensor | None = None,
        pitch: Tensor | None = None,
        pitch_lengths: Tensor | None = None,
        energy: Tensor | None = None,
        energy_lengths: Tensor | None = None,
        spembs: Tensor | None = None,
        sids: Tensor | None = None,
        lids: Tensor | None = None,
        joint_training: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return the loss (1,) of a padded batch, its parts by name, and the number of utterances (1,).

        In joint training, the loss is (), and in place of the number stands the mel after the PostNet
        (B, L, M). Padding has no effect.

        Args:
            text, text_lengths: (B, N) int64 tokens, (B,).
            feats, feats_lengths: (B, L, M) normalised log-mel, (B,).
            durations, durations_lengths: (B, N or N + 1) whole frames of each token, (B,); None: learned.
            pitch, pitch_lengths, energy, energy_lengths: (B, L, 1), (B,), normalised; with durations also
                per token, (B, N or N + 1, 1).
            sids: (B, 1) int64, for a model with speakers; spembs, lids: must be None.

        Raises:
            ValueError: an utterance with more tokens than frames, durations that don't add up to the mel,
                pitch or energy missing, of another length or not normalised, an input without use.
        """
        # A replica of data parallelism gets the padding of the whole batch.
        text, feats = text[:, : int(text_lengths.max())], feats[:, : int(feats_lengths.max())]
        speaker, alignment = self._speaker(sids, spembs, lids), None
        if durations is None:
            batch = (text, text_lengths, feats, feats_lengths)
            alignment, durations = learned_durations(self.spikevoice, *batch, self.prior_scale)
        else:
            durations = _without_end(durations, durations_lengths, text_lengths)
        lengths = (feats_lengths, durations_lengths)
        pitch = self._per_token("pitch", pitch, pitch_lengths, durations, *lengths)
        energy = self._per_token("energy", energy, energy_lengths, durations, *lengths)
        given = {"durations": durations, "pitch": pitch, "energy": energy}
        given |= {"mel_lengths": feats_lengths, "speaker": speaker, "alignment": alignment}
        said, learned = self.spikevoice(text, text_lengths, **given), alignment is not None
        loss, parts = self.loss(said, text_lengths, feats, feats_lengths, pitch, energy, learned=learned)
        stats = {f"{name}_loss": part for name, part in parts.items()} | {"loss": loss.detach()}
        if joint_training:
            return loss, stats, said.mel_post
        return force_gatherable((loss, stats, len(text)), loss.device)

    @torch.no_grad()
    def inference(
        self,
        text: Tensor,
        feats: Tensor | None = None,
        durations: Tensor | None = None,
        spembs: Tensor | None = None,
        sids: Tensor | None = None,
        lids: Tensor | None = None,
        pitch: Tensor | None = None,
        energy: Tensor | None = None,
        alpha: float = 1.0,
        use_teacher_forcing: bool = False,
    ) -> dict[str, Tensor]:
        """Speak one utterance: what isn't given is predicted.

        Args:
            text: (N,) int64 tokens.
            feats: (L, M) normalised log-mel to align with, if the teacher is to be forced without durations.
            durations, pitch, energy: (N or N + 1,), (L, 1), (L, 1) as in `forward`.
            sids: (1,) int64, for a model with speakers.
            alpha: factor on the predicted durations, as in ESPnet's FastSpeech 2: 1.1 is 10 % slower.
            use_teacher_forcing: with the natural durations.

        Returns:
            feat_gen (L, M), log-mel after the PostNet; duration (N,) as spoken; pitch, energy (N,) as
            predicted.

        Raises:
            ValueError: as `forward`; also an alpha that isn't positive.
        """
        if not alpha > 0:
            raise ValueError(f"alpha (speed_control_alpha) must be positive, got {alpha}")
        if use_teacher_forcing and durations is None:
            if feats is None:
                raise ValueError("teacher forcing needs durations, or speech to align the text with")
            durations = self.align(text, feats)
        lengths = _length(text)
        known = {"speaker": self._speaker(sids, spembs, lids), "controls": Controls(speed=1 / alpha)}
        given = None if durations is None else _length(durations)
        if durations is not None:
            known["durations"] = durations = _without_end(durations[None], given, lengths)
        for name, values in (("pitch", pitch), ("energy", energy)):
            if values is None:
                continue
            if durations is None:
                raise ValueError(f"{name} without durations: give both, or force the teacher")
            per_value = (values[None], _length(values), durations, durations.sum(1), given)
            known[name] = self._per_token(name, *per_value)
        said = self.spikevoice(text[None], lengths, **known)
        found = {"duration": said.durations, "pitch": said.pitch, "energy": said.energy}
        return {"feat_gen": said.mel_post[0]} | {name: values[0] for name, values in found.items()}

    @torch.no_grad()
    def align(self, text: Tensor, feats: Tensor) -> Tensor:
        """Frames of each token, found by the aligner: text (N,) and normalised log-mel (L, M) -> (N,)."""
        batch = (text[None], _length(text), feats[None], _length(feats))
        return learned_durations(self.spikevoice, *batch, self.prior_scale)[1][0]

    def _per_token(self, name: str, values, lengths, durations: Tensor, frames: Tensor, given) -> Tensor:
        """Pitch or energy, (B, L, 1) or with durations given (B, N or N + 1, 1), as (B, N)."""
        extract, average = EXTRACTORS[name]
        if values is None:
            told = f"say {name}_extract: {extract} and {name}_normalize: global_mvn"
            raise ValueError(f"SpikeVoice needs {name}: {told}")
        values, tokens = values.squeeze(-1), durations.shape[1]
        if torch.equal(lengths, frames):
            values = average_by_duration(values, durations)
        elif given is not None and torch.equal(lengths, given):
            values = values[:, :tokens]
        else:
            raise ValueError(
                f"{name} has {lengths.tolist()} values for {frames.tolist()} frames; expected one a frame: "
                f"say {name}_extract_conf: {{{average}: false}}, with the hop_length of feats_extract_conf"
            )
        embedding = getattr(self.spikevoice.adaptor, f"{name}_embedding")
        spoken = durations > 0
        if spoken.any() and (values[spoken] > embedding.high).all():
            raise ValueError(
                f"{name} is nowhere below {embedding.high}, the end of {name}_range, so it isn't normalised: "
                f"say {name}_normalize: global_mvn"
            )
        return values.clamp(embedding.low, embedding.high)

    def _speaker(self, sids: Tensor | None, spembs: Tensor | None, lids: Tensor | None) -> Tensor | None:
        """(B,) speakers' numbers; an input that the model can't use is an error."""
        if spembs is not None or lids is not None:
            unused = "spembs" if spembs is not None else "lids"
            raise ValueError(f"SpikeVoice has no use for {unused}; it tells speakers by sids (speakers: N)")
        return None if sids is None else sids.view(-1)


def _length(one: Tensor) -> Tensor:
    """The length of an utterance, as that of a batch (1,)."""
    return torch.tensor([len(one)], device=one.device)


def _without_end(durations: Tensor, lengths: Tensor, text_lengths: Tensor) -> Tensor:
    """(B, N) durations of the tokens; those of an end symbol, if any, are added to the last token's."""
    extra = lengths - text_lengths
    wrong = (extra < 0) | (extra > 1)
    if wrong.any():
        row = int(wrong.int().argmax())
        raise ValueError(
            f"utterance {row} of the batch has {int(text_lengths[row])} tokens, but {int(lengths[row])} "
            "durations; was the text made into tokens in another way than the durations?"
        )
    durations = torch.nn.functional.pad(durations, (0, 1))
    end = durations.gather(1, text_lengths[:, None]) * extra[:, None]
    widest = int(text_lengths.max())
    real = torch.arange(widest, device=durations.device) < text_lengths[:, None]
    return (durations[:, :widest] * real).scatter_add(1, text_lengths[:, None] - 1, end)


class TTSModel(ESPnetTTSModel):
    """`ESPnetTTSModel`, the same for all that works with it; `register` puts it in its place.

    A batch that the TTS model refuses is named by its utterances. SpikeVoice's aligner gives the durations
    for teacher forcing where the data have none; its weights hold what pitch and energy are normalised by,
    in which its controls are told.

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
        self._check_extractors(batch.get("durations"))
        try:
            return super().forward(*args, **batch)
        except ValueError as error:
            if not utt_id:
                raise
            raise ValueError(f"{error} (the batch, from utterance 0: {', '.join(utt_id)})") from error

    def collect_feats(self, *args, **batch) -> dict[str, Tensor]:
        self._check_extractors(batch.get("durations"))
        return super().collect_feats(*args, **batch)

    def inference(
        self, text: Tensor, speech: Tensor | None = None, durations: Tensor | None = None, **options: Any
    ) -> dict[str, Tensor]:
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
