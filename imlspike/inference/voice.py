"""A trained SpikeVoice in use: the model, its symbols, speakers and mel."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Any

import torch
from torch import Tensor

from imlspike.data.keys import construct
from imlspike.data.yaml_file import ConfigError
from imlspike.inference.bundle import Bundle, names_damage
from imlspike.layers.log_mel import LogMel
from imlspike.layers.rounding import round_weights
from imlspike.models.spikevoice import SpikeVoice
from imlspike.text.phonemes import to_numbers


@dataclass
class TrainedVoice:
    """A SpikeVoice and what belongs to it.

    Attributes:
        model: in evaluation mode.
        symbols: that its numbers stand for.
        features: of the mel that it speaks, as `imlspike.layers.log_mel.LogMel` takes them.
        mean, deviation: (M,) of the log-mel in the training data: the model speaks (mel - mean) / deviation.
        front_end: of `imlspike.text.phonemes.FRONT_ENDS`; None: not known.
        speakers: their names, in the order of their numbers; empty for one voice, or where they aren't known.
        name: of the model, for messages.
        recording: how it looks at a recording: what extracts pitch and energy, as ESPnet's TTS task names it,
            and the aligner's `prior_scale`.

    >>> model = SpikeVoice(3, n_mels=8, dim=16, hidden_dim=16, encoder_layers=1, decoder_layers=1, speakers=3)
    >>> features = dict(sampling_rate=8000, n_fft=64, hop_length=16, n_mels=8, f_min=0.0, f_max=None)
    >>> voice = TrainedVoice(model, ("a", "b", "."), features, speakers=("Ann", "Bob"))
    >>> voice.numbers(["b", "a", "."]), voice.speaker_number("Bob")
    (tensor([1, 0, 2]), 2)
    """

    model: SpikeVoice
    symbols: Sequence[str]
    features: dict[str, Any]
    mean: Tensor | float = 0.0
    deviation: Tensor | float = 1.0
    front_end: str | None = None
    speakers: Sequence[str] = ()
    name: str = "unnamed"
    recording: dict[str, Any] = field(default_factory=dict)

    @classmethod
    @names_damage
    def from_bundle(cls, bundle: Bundle) -> "TrainedVoice":
        """The voice of a bundle, on its device; ConfigError for unknown arguments or parts that don't fit."""
        config = bundle.config
        construct(LogMel, config["features"], bundle.where("features"))  # a wrong one is told here
        sizes = {"vocab_size": len(bundle.tokens), "n_mels": config["features"]["n_mels"]}
        arguments = sizes | config["model"]
        make = partial(construct, SpikeVoice, arguments, bundle.where("model"))
        model = bundle.fill(make, bundle.part("model."))
        if bundle.weight_bits is not None:
            round_weights(model.reparameterize(), bundle.weight_bits)
        count, names = model.config["speakers"] or 0, tuple(map(str, config.get("speakers") or ()))
        if names and count - len(names) not in (0, 1):
            raise ConfigError(f"{bundle.where('speakers')}: {len(names)} names, but the model has {count}")
        return cls(
            model,
            bundle.tokens,
            config["features"],
            bundle.states["normalize.mean"],
            bundle.states["normalize.std"],
            config.get("front_end"),
            names,
            bundle.source,
            config.get("recording") or {},
        )

    def numbers(self, symbols: Sequence[str], name: str = "text") -> Tensor:
        """Symbols as the model takes them, (N,) int64; an error names the utterance `name` and the symbol."""
        return torch.tensor(to_numbers(symbols, self.symbols, name), device=self.device)

    def speaker_number(self, speaker: str | int | None) -> int | None:
        """The number of a speaker's name; None for a model with one voice.

        An int is a number already, and so are digits where no names are known. (Where they are, digits are a
        name, as in LibriTTS.) There may be a number more than names: ESPnet's 0, of unknown speakers.

        Raises:
            ValueError: no such speaker (the nearest is named), none for a model with several, or one for a
                model with one voice.
        """
        count, few = self.model.config["speakers"], ", ".join(self.speakers[:10])
        few += ", ..." * (len(self.speakers) > 10)
        if count is None:
            if speaker is not None:
                raise ValueError(f"{self.name} has one voice: give no speaker")
            return None
        if speaker is None:
            raise ValueError(f"{self.name} has several speakers: say which{few and f' ({few})'}")
        if isinstance(speaker, str) and self.speakers:
            if speaker not in self.speakers:
                near = get_close_matches(speaker, self.speakers, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {few}"
                raise ValueError(f"{self.name} has no speaker {speaker!r}; {hint}")
            return self.speakers.index(speaker) + count - len(self.speakers)
        if isinstance(speaker, str) and not speaker.isdecimal():
            told = f"{self.name} doesn't know {speaker!r}, nor any name"
            raise ValueError(f"{told}: give a number below {count}")
        if not 0 <= int(speaker) < count:
            raise ValueError(f"speakers of {self.name} are numbered 0 to {count - 1}, got {speaker}")
        return int(speaker)

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.model.embedding.weight.device
