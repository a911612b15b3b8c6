"""bundle.yaml: what it may hold."""

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from imlspike.data.audio import check_rate
from imlspike.data.keys import check_choice, unknown_key
from imlspike.data.mel import MEL_KEYS
from imlspike.data.yaml_file import ConfigError, parse_yaml

FORMAT = 1
MOST_SAMPLES, MOST_MELS = 2**16, 2**10  # of a frame
LEAST_WIDTH = 4096  # tables of positions, of which no weights tell, have up to some thousands
KINDS = {"recognizer": "imlspike transcribe", "voice": "imlspike synthesize", "vocoder": "imlspike vocode"}
KEYS = {  # of bundle.yaml, by kind; those of the second tuple may be absent
    "recognizer": (("features", "model", "token_type"), ("lm", "search", "word_times")),
    "voice": (("features", "model"), ("token_type", "front_end", "speakers", "languages", "recording")),
    "vocoder": (("features", "model"), ("level",)),
}
EXTRACTORS = ("pitch_extract", "pitch_extract_conf", "energy_extract", "energy_extract_conf")
KEYS_OF = {  # of the sections whose keys are no arguments of one constructor
    "recognizer": {
        "model": ("encoder", "encoder_conf", "decoder", "decoder_conf"),
        "lm": ("lm", "lm_conf"),
    },
    "voice": {"features": MEL_KEYS, "recording": (*EXTRACTORS, "prior_scale")},
    "vocoder": {"features": MEL_KEYS},
}
# Keys that hold further keys
SECTIONS = ("features", "model", "lm", "search", "word_times", "languages", "recording", "origin")


def read_config(content: bytes, source: str) -> dict[str, Any]:
    """The content of bundle.yaml, checked as far as no model has to be made for it.

    Raises:
        ConfigError: beginning with `source`; for what is missing, unknown or of another kind, naming it.

    >>> read_config(b"format: 2", "bundle.yaml")
    Traceback (most recent call last):
    imlspike.data.yaml_file.ConfigError: bundle.yaml: format is 2; this imlspike reads 1
    """
    config = parse_yaml(content, source)
    if config.get("format") != FORMAT:
        form = reprlib.repr(config.get("format"))
        raise ConfigError(f"{source}: format is {form}; this imlspike reads {FORMAT}")
    kind = config.get("kind")
    try:
        check_choice("kind", kind, KINDS)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None
    needed, optional = KEYS[kind]
    _check_keys(config, ("format", "kind", "name", "origin", *needed, *optional), source)
    for key in ("name", *needed):
        if key not in config:
            raise ConfigError(f"{source}: no key {key!r}; a {kind} has it")
    for key in SECTIONS:
        if not isinstance(config.get(key, {}), dict):
            raise ConfigError(f"{source}: {key} is {reprlib.repr(config[key])}; expected keys and values")
    for section, known in KEYS_OF[kind].items():
        _check_keys(config.get(section, {}), known, f"{source}, {section}")
    features = config["features"]
    if not isinstance(features.get("sampling_rate"), int):
        raise ConfigError(f"{source}: features has no sampling_rate in Hz")
    try:
        check_rate(features["sampling_rate"])
    except ValueError as error:
        raise ConfigError(f"{source}, features: sampling_rate: {error}") from None
    for key, value in _whole_numbers(features):
        least, most = 0 if key.startswith("f_") else 1, MOST_MELS if key == "n_mels" else MOST_SAMPLES
        if key not in ("sampling_rate", "level", "floor") and not least <= value <= most:
            raise ConfigError(f"{source}, features: {key} is {value}; expected {least} to {most}")
    return config


def check_sizes(config: dict[str, Any], states: Mapping[str, Tensor], source: str) -> None:
    """Compare the numbers of a model's configuration with its weights, before a model is made of them.

    A stranger's bundle could ask for more memory than there is. Layers can't be more than there are tensors,
    widths not more than twice the largest dimension.

    Raises:
        ConfigError: beginning with `source`; for a number that the weights can't be of, naming it.
    """
    widest = 2 * max([LEAST_WIDTH, *(size for state in states.values() for size in state.shape)])
    for key, value in _whole_numbers(config["model"]):
        most = len(states) if key.endswith(("blocks", "layers", "layer")) else widest
        least = -1 if key == "padding_idx" else 0  # ESPnet's for none
        if not least <= value <= most:
            raise ConfigError(f"{source}, model: {key} is {value}, which its weights are not of")


def _whole_numbers(section: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The whole numbers of a section and of those in it, with their keys."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _whole_numbers(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield str(key), value


def _check_keys(section: dict, known: Iterable[str], source: str) -> None:
    for key in section:
        if key not in known:
            raise ConfigError(f"{source}: {unknown_key(str(key), known)}")
