"""YAML files of this project: one reader, one writer, one kind of error."""

import copy
import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from imlspike.data.files import atomic_write

DEEPEST, MOST_VALUES = 100, 10**6  # levels at once; values with aliases written out


class ConfigError(ValueError):
    """A configuration that can't be used; the message names the file, the key and the nearest right one."""


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """SafeLoader that refuses a key that stands twice and reads `1e-3` as a number (YAML 1.1: as text)."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: key {key_node.value!r} stands twice")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: str | os.PathLike) -> dict[str, Any]:
    """Read a YAML mapping; ConfigError if the file is missing, isn't YAML or isn't a mapping."""
    try:
        with open(path, "rb") as file:
            return parse_yaml(file.read(), os.fspath(path))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; check the path") from None


def parse_yaml(content: bytes | str, source: str) -> dict[str, Any]:
    """The mapping that a YAML text holds, as `read_yaml` reads it; `source` is named in errors.

    >>> parse_yaml("lr: 1e-3", "a.yaml")
    {'lr': 0.001}
    >>> parse_yaml("- lr", "a.yaml")
    Traceback (most recent call last):
    imlspike.data.yaml_file.ConfigError: a.yaml: expected 'key: value' lines, found list
    """
    config = parse_value(content, source)
    if not isinstance(config, dict):
        raise ConfigError(f"{source}: expected 'key: value' lines, found {type(config).__name__}")
    return config


def parse_value(content: bytes | str, source: str) -> Any:
    """Any YAML value; the rest as `parse_yaml`."""
    try:
        _check_sizes(content)
        return yaml.load(content, Loader=_StrictLoader)
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:  # !!bool x
        told = str(error).replace(' in "<byte string>"', "")
        told = told if isinstance(error, yaml.YAMLError) else f"{type(error).__name__}: {told}"
        told = textwrap.shorten(told, 300, placeholder=" ...")
        raise ConfigError(f"{source}: not usable as YAML: {told}") from None


def _check_sizes(content: bytes | str) -> None:
    """Refuse what takes a few lines and would be endless: levels, aliases of aliases, an alias in itself."""
    known, inner = {}, [(None, 1, 1)]  # anchor, values and levels of what has begun
    for event in yaml.parse(content, Loader=_StrictLoader):
        values, levels = 0, 0
        if isinstance(event, yaml.CollectionStartEvent):
            inner.append((event.anchor, 1, 1))
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in known:
                raise yaml.YAMLError(f"*{event.anchor} stands in itself, or for nothing")
            values, levels = known[event.anchor]
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, values, levels = inner.pop()
            known[anchor] = values, levels
        elif isinstance(event, yaml.ScalarEvent):
            known[event.anchor] = values, levels = 1, 0
        anchor, most, deepest = inner[-1]
        inner[-1] = anchor, most + values, max(deepest, levels + 1)
        if len(inner) + levels > DEEPEST or most > MOST_VALUES:
            raise yaml.YAMLError(f"more than {DEEPEST} levels, or {MOST_VALUES} values")


def parse_setting(setting: str) -> dict[str, Any]:
    """A setting `key=value`, dots for nesting, as the mapping that a file would hold.

    >>> parse_setting("encoder_conf.kappa=0.5")
    {'encoder_conf': {'kappa': 0.5}}
    >>> parse_setting("max_epoch")
    Traceback (most recent call last):
    imlspike.data.yaml_file.ConfigError: max_epoch: expected key=value, such as encoder_conf.kappa=0.5
    """
    path, equals, value = setting.partition("=")
    if not equals or not all(path.split(".")):
        raise ConfigError(f"{setting}: expected key=value, such as encoder_conf.kappa=0.5")
    return nested(path, parse_value(value, setting))


def nested(path: str, value: Any) -> Any:
    """`value` in mappings, one for each key of a path with dots between."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def flat(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, each with its keys joined by dots."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Replace the keys of `into` by copies of those of `layer`; where both hold mappings, merge these.

    >>> config = {"conf": {"a": 1, "b": 2}}
    >>> merge(config, {"conf": {"b": 3}})
    >>> config
    {'conf': {'a': 1, 'b': 3}}
    """
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def dump_yaml(config: Mapping[str, Any]) -> str:
    """A mapping as YAML text, in the order of its keys."""
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, default_flow_style=False, width=10**6)


def write_yaml(path: str | os.PathLike, config: Mapping[str, Any]) -> None:
    """Write a mapping as YAML, in the order of its keys, whole or not at all."""
    with atomic_write(path) as out:
        out.write(dump_yaml(config))
