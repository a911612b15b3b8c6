"""Wrong keys and values in a configuration: name the nearest right one."""

import difflib
import inspect
import textwrap
from collections.abc import Iterable
from numbers import Real

from imlspike.data.yaml_file import ConfigError

MOST = 40  # keys that an error lists
MOST_SECONDS = 1e6  # of sound that are worked on at once


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The sentence that tells a reader about a key that isn't known: the nearest right one, then all of them.

    >>> unknown_key("kapa", ["levels", "kappa"])
    "unknown key 'kapa'; did you mean 'kappa'? (known: kappa, levels)"
    """
    known = sorted(known)
    shown = known if len(known) <= MOST else [*difflib.get_close_matches(key, known, MOST, 0), "..."]
    return f"unknown key {key!r}{_hint(key, known)} (known: {', '.join(shown)})"


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise ValueError unless the argument `name` is one of `choices`; the nearest of them is named.

    >>> check_choice("neuron", "pliff", ["plif", "imls"])
    Traceback (most recent call last):
    ValueError: neuron must be one of plif, imls, not 'pliff'; did you mean 'plif'?
    """
    choices = list(choices)
    if value not in choices:
        hint = _hint(str(value), choices)
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}{hint}")


def check_number(name: str, value: object, least: float, most: float) -> None:
    """Raise ValueError unless the argument `name` is a number from `least` to `most`; NaN is none.

    >>> check_number("pause", float("nan"), 0, 60)
    Traceback (most recent call last):
    ValueError: pause is nan; expected a number from 0 to 60
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}; expected a number from {least:g} to {most:g}")


def constructor_keys(cls: type) -> set[str] | None:
    """The argument names that the constructor of `cls` takes; None when it takes any (`**kwargs`)."""
    parameters = inspect.signature(cls).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters if p.kind is not p.VAR_POSITIONAL}


def construct(cls: type, config: object, source: str):
    """An instance of `cls` with the arguments that the configuration read from `source` holds.

    ConfigError on an unknown argument (the nearest right one is named), or what `cls` itself refuses.

    >>> construct(complex, {"real": 1, "imagg": 2}, "a.yaml")
    Traceback (most recent call last):
    imlspike.data.yaml_file.ConfigError: a.yaml: unknown key 'imagg'; did you mean 'imag'? (known: imag, real)
    """
    if not isinstance(config, dict):
        raise ConfigError(f"{source}: expected 'key: value' lines, found {type(config).__name__}")
    known = constructor_keys(cls)
    for key in config:
        if known is not None and key not in known:
            raise ConfigError(f"{source}: {unknown_key(key, known)}")
    try:
        return cls(**config)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{source}: {textwrap.shorten(str(error), 500, placeholder=' ...')}") from None


def _hint(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
