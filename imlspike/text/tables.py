"""The words in normalization.yaml, and patterns of them."""

import re
from collections.abc import Iterable
from pathlib import Path

import yaml

_TABLES = yaml.safe_load(Path(__file__).with_name("normalization.yaml").read_text(encoding="utf-8"))
LANGUAGES = tuple(_TABLES)


def tables(language: str) -> dict[str, dict[str, str]]:
    """The tables of a language in normalization.yaml: what is written to what is said."""
    found: dict[str, dict[str, str]] = {}
    for name, table in _TABLES[language].items():
        found[name] = {}
        for entry in table.split():
            written, said = re.fullmatch("(.+?)(?:=([^=]*))?", entry).groups("")
            blank = "_" if written == "_" else " "
            found[name][written.replace("_", blank)] = said.replace("_", " ")
    for name in ("before_names", "before_numbers"):
        found.setdefault("abbreviations", {}).update(found.get(name, {}))
    return found


def one_of(words: Iterable[str]) -> str:
    """A pattern for any of some words, the longest first."""
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


def abbreviated(words: Iterable[str]) -> str:
    """The same for abbreviations, without the last point: with a capital, too, and blanks (т. д)."""
    capitals = (word[0].upper() + word[1:] for word in words if len(word) > 1)
    return one_of({*words, *capitals}).replace(r"\.", r"\. ?")
