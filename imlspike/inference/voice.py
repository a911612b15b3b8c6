"""A trained SpikeVoice in use: the model, its symbols, speakers and mel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from imlspike.data.keys import construct
from imlspike.data.yaml_file import ConfigError
from imlspike.inference.bundle import Bundle, names_damage
from imlspike.inference.speaking import Voice
from imlspike.layers.log_mel import LogMel
from imlspike.layers.rounding import round_weights
from imlspike.models.spikevoice import SpikeVoice
from imlspike.text.phonemes import languages_of, to_numbers


@dataclass
class TrainedVoice(Voice):
    """A SpikeVoice and what belongs to it.

    Attributes:
        model: in evaluation mode.
        symbols, front_end, speakers, name, languages: of `Voice`.
        features: of the mel that it speaks, as `imlspike.layers.log_mel.LogMel` takes them.
        mean, deviation: (M,) of the log-mel in the training data: the model speaks (mel - mean) / deviation.
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
    languages: Mapping[str, str] = field(default_factory=dict)

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
        known = languages_of(config.get("front_end") or "")
        languages = {str(name): language for name, language in (config.get("languages") or {}).items()}
        for name, language in languages.items():
            if name not in names or language not in known:
                told = "expected names among the speakers, each with a language of front_end"
                raise ConfigError(f"{bundle.where('languages')}: {name}: {language!r}; {told}")
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
            languages,
        )

    def numbers(self, symbols: Sequence[str], name: str = "text") -> Tensor:
        """Symbols as the model takes them, (N,) int64; an error names the utterance `name` and the symbol."""
        return torch.tensor(to_numbers(symbols, self.symbols, name), device=self.device)

    @property
    def speaker_count(self) -> int | None:
        """How many speakers the model has; None: it has one voice."""
        return self.model.config["speakers"]

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.model.embedding.weight.device
