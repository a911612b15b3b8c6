"""YAML files of this project: one reader, one writer, one kind of error."""

import copy
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from imlspike.data.files import atomic_write

DEEPEST = 100
_DEEP = re.compile(rf"(?:[\[{{]\s*|[-?]\s+){{{DEEPEST}}}")


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
    text = content.decode(errors="replace") if isinstance(content, bytes) else content
    if _DEEP.search(text):  # libyaml would go as deep, until its stack ends
        raise ConfigError(f"{source}: not usable as YAML: more than {DEEPEST} levels at once")
    try:
        return yaml.load(content, Loader=_StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: not usable as YAML: {error}") from None


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
