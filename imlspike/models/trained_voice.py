"""A trained SpikeVoice as its experiment holds it: the core model and what text and mel mean to it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from imlspike.data.keys import unknown_key
from imlspike.data.place import find_one, open_place
from imlspike.models.spikevoice import SpikeVoice
from imlspike.text.phonemes import to_numbers

EXPECTED = (
    "expected a voice's experiment (a folder with config.yaml and a model file, as exp/NAME), a folder or "
    ".zip that holds one, or a name OWNER/MODEL on the Hugging Face hub"
)
PREFIX = "tts.spikevoice."
OF_THE_LOSS = ("loss_weights", "prior_scale")  # keys of tts_conf that the model doesn't take
IN_VOICE_YAML = ("front_end", "model_file", "speakers")
# The vocoders' names of the mel's settings, and ESPnet's.
FEATURES = dict(sampling_rate="fs", n_fft="n_fft", hop_length="hop_length", n_mels="n_mels")
FEATURES |= dict(f_min="fmin", f_max="fmax")


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
        config: what it was trained with (ESPnet's config.yaml).
        model_file: where its weights come from.

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
    config: dict[str, Any] = field(default_factory=dict)
    model_file: Path | None = None

    def numbers(self, symbols: Sequence[str], name: str = "text") -> Tensor:
        """Symbols as the model takes them, (N,) int64; an error names the utterance `name` and the symbol."""
        return torch.tensor(to_numbers(symbols, self.symbols, name), device=self.device)

    def speaker_number(self, speaker: str | int | None) -> int | None:
        """The number of a speaker's name; None for a model with one voice.

        An int is a number already, and so are digits where no names are known. (Where they are, digits are a
        name, as in LibriTTS.)

        Raises:
            ValueError: no such speaker (the nearest is named), none for a model with several, or one for a
                model with one voice.
        """
        count = self.model.config["speakers"]
        if count is None and speaker is None:
            return None
        if count is None:
            raise ValueError(f"{self.name} has one voice: give no speaker")
        few = ", ".join(self.speakers[:10]) + ", ..." * (len(self.speakers) > 10)
        if speaker is None:
            raise ValueError(f"{self.name} has several speakers: say which{few and f' ({few})'}")
        if isinstance(speaker, str) and self.speakers:
            if speaker not in self.speakers:
                near = get_close_matches(speaker, self.speakers, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {few}"
                raise ValueError(f"{self.name} has no speaker {speaker!r}; {hint}")
            return self.speakers.index(speaker) + count - len(self.speakers)
        if isinstance(speaker, str):
            if not speaker.isdecimal():
                raise ValueError(
                    f"{self.name} doesn't know {speaker!r}, nor any name: give a number below {count}"
                )
            speaker = int(speaker)
        if not 0 <= speaker < count:
            raise ValueError(f"speakers of {self.name} are numbered 0 to {count - 1}, got {speaker}")
        return speaker

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.embedding.weight.device


def load_voice(
    path: str | os.PathLike,
    model_file: str | None = None,
    device: str | torch.device = "cpu",
    cache_dir: str | os.PathLike | None = None,
) -> TrainedVoice:
    """Open what ESPnet's TTS task trained with `tts: spikevoice`; ESPnet isn't needed.

    Besides ESPnet's config.yaml and the weights, the folder may have a voice.yaml that says `front_end`,
    `model_file` and `speakers` (names in the order of their numbers, with or without one for number 0, which
    ESPnet keeps for unknown speakers).

    Args:
        path: an experiment's folder, a recipe's folder with one voice, a zip of such a folder, or a name on
            the Hugging Face hub.
        model_file: a file beside config.yaml; default: what voice.yaml says, or the average of the best
            epochs (or, where only one was kept, the best).
        device: where the model goes.
        cache_dir: see `imlspike.data.place.open_place`.

    Raises:
        ValueError: if there is no such voice, its mel isn't `log_mel`, or its files are damaged or don't
            belong together, saying what was expected.

    >>> load_voice("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: no/such/folder: no such file or folder; expected a voice's experiment (...
    """
    folder, named = open_place(path, EXPECTED, cache_dir), os.fspath(path)
    config_file = find_one(folder, "config.yaml", _is_voice, "voice", named, EXPECTED)
    if not _is_voice(config_file):
        raise ValueError(f"{named}: its config.yaml isn't of a trained SpikeVoice; {EXPECTED}")
    config, about = _read_yaml(config_file), _about(config_file.parent / "voice.yaml")
    weights = _model_file(config_file, config, model_file or about.get("model_file"))
    features = _features(config, config_file)
    model, mean, deviation = _load(config, features["n_mels"], weights, config_file)
    voice = TrainedVoice(
        model.to(device).eval(),
        tuple(config["token_list"]),
        features,
        mean.to(device),
        deviation.to(device),
        about.get("front_end"),
        tuple(map(str, about.get("speakers") or ())),
        named,
        config,
        weights,
    )
    count = model.config["speakers"] or 0
    if voice.speakers and count - len(voice.speakers) not in (0, 1):
        where = config_file.parent / "voice.yaml"
        raise ValueError(f"{where}: {len(voice.speakers)} speakers, but the model has {count}")
    return voice


def _is_voice(config: Path) -> bool:
    """Whether a config.yaml is of a SpikeVoice that has been trained for an epoch."""
    lines = config.read_text(encoding="utf-8").splitlines()
    return "tts: spikevoice" in lines and any(config.parent.glob("*.pth"))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not usable as YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected 'key: value' lines, found {type(content).__name__}")
    return content


def _about(path: Path) -> dict[str, Any]:
    """The content of voice.yaml; empty where there is none."""
    about = _read_yaml(path) if path.is_file() else {}
    for key in about:
        if key not in IN_VOICE_YAML:
            raise ValueError(f"{path}: {unknown_key(key, IN_VOICE_YAML)}")
    return about


def _model_file(config_file: Path, config: dict[str, Any], wanted: str | None) -> Path:
    """The model file that is asked for, or the average for the first criterion, or the best epoch."""
    phase, key, _ = (config.get("best_model_criterion") or [["valid", "loss", "min"]])[0]
    names = [wanted] if wanted else [f"{phase}.{key}.ave.pth", f"{phase}.{key}.best.pth"]
    for name in names:
        if (config_file.parent / name).is_file():
            return config_file.parent / name
    there = ", ".join(sorted(file.name for file in config_file.parent.glob("*.pth")))
    raise ValueError(f"{config_file.parent / names[0]}: no such model; there is {there}. Name one of these")


def _features(config: dict[str, Any], source: Path) -> dict[str, Any]:
    """The mel's settings by the vocoders' names."""
    kind, conf = config.get("feats_extract"), config.get("feats_extract_conf") or {}
    if kind != "log_mel":
        raise ValueError(
            f"{source}: feats_extract is {kind!r}, a mel that no vocoder of this project reads; train with "
            "feats_extract: log_mel"
        )
    conf = {"fmin": 0.0, "fmax": None} | conf
    missing = [name for name in FEATURES.values() if name not in conf]
    if missing:
        raise ValueError(f"{source}: feats_extract_conf doesn't say {', '.join(missing)}")
    return {name: conf[key] for name, key in FEATURES.items()}


def _load(
    config: dict[str, Any], n_mels: int, weights: Path, source: Path
) -> tuple[SpikeVoice, Tensor, Tensor]:
    """The model, and the mean and deviation of its mel."""
    if config.get("normalize") not in ("global_mvn", None):
        raise ValueError(f"{source}: normalize is {config['normalize']!r}; expected global_mvn or null")
    conf = {key: value for key, value in (config.get("tts_conf") or {}).items() if key not in OF_THE_LOSS}
    sizes = {"vocab_size": len(config["token_list"]), "n_mels": n_mels}
    model = SpikeVoice.from_config(sizes | conf, f"{source}, tts_conf")
    try:
        states = torch.load(weights, map_location="cpu", weights_only=True)
        own = {key[len(PREFIX) :]: state for key, state in states.items() if key.startswith(PREFIX)}
    except Exception as error:  # of many kinds, whatever the unpickler stumbles over
        raise ValueError(
            f"{weights}: not readable as a model ({error}); copy it again, or name another"
        ) from None
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f"{weights} doesn't fit {source}: {error}") from None
    mean, deviation = torch.zeros(n_mels), torch.ones(n_mels)
    if config.get("normalize"):
        flags = config.get("normalize_conf") or {}
        mean = states["normalize.mean"].float() if flags.get("norm_means", True) else mean
        deviation = states["normalize.std"].float() if flags.get("norm_vars", True) else deviation
    return model, mean, deviation
