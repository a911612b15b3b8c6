"""Shared parts of the grammars: rules, numbers by num2words, Roman numerals, addresses."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import yaml

from imlspike.text.sentences import split_sentences

_TABLES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
LONGEST = 1000  # characters that rules see at once: their time grows with the square
_MANY_DIGITS = re.compile(r"\d{40,}")
Rule = tuple[re.Pattern, Callable[[re.Match], str] | str]

_ADDRESS = re.compile(
    r"(?:(?:https?|ftp)://|www\.)[^\s,;!\"()]+|(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|(?<![\w@./])(?:[a-z\d][a-z\d-]*\.)+(?:com|org|net|edu|gov|info|ru|cn|io|uk|de|nl|cz|eu|fr|ai|app|dev|tv)(?![\w-])(?:/[^\s,;!\"()]*)?",
    re.IGNORECASE,
)
_ROMAN = re.compile("M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_ROMAN_DIGITS = dict(zip("IVXLCDM", (1, 5, 10, 50, 100, 500, 1000), strict=True))


def tables(language: str) -> dict[str, dict[str, str]]:
    """The tables of a language in normalization.yaml: what is written to what is said."""
    found: dict[str, dict[str, str]] = {}
    for name, table in _TABLES[language].items():
        pairs = ((pair[0], *pair[1:].rpartition("=")) for pair in table.split())  # = itself may be written
        found[name] = {
            (first + rest).replace("_", " ") if rest else first: said.replace("_", " ")
            for first, rest, _, said in pairs
        }
    return found


def rules(*patterns: tuple[str, Callable[[re.Match], str] | str]) -> list[Rule]:
    """Compile pairs of a pattern and what is said for it."""
    return [(re.compile(pattern), by) for pattern, by in patterns]


def normalize(
    text: str, grammar: Iterable[Rule], address: Mapping[str, str], signs: Mapping[str, str]
) -> str:
    """Apply rules one after the other to each sentence; web and mail addresses first, single signs at last.

    Addresses are spelled: a domain (com) and a character by their names in `address`, others as they stand.
    """

    def spell(found: re.Match) -> str:
        whole = found[0].rstrip(".:?'")
        domains = "|".join(rf"(?<=\.){name}(?![\w-])" for name in address if len(name) > 1)
        parts = re.findall(rf"{domains}|\d+|.", whole, re.IGNORECASE)
        return " ".join(address.get(part.lower(), part) for part in parts) + found[0][len(whole) :]

    said = []
    for sentence in split_sentences(_MANY_DIGITS.sub(lambda m: " ".join(m[0]), text), LONGEST):
        sentence = _ADDRESS.sub(spell, sentence)
        for pattern, by in grammar:
            sentence = pattern.sub(by, sentence)
        said.append("".join(f" {signs[c]} " if c in signs else c for c in sentence))
    return " ".join(" ".join(said).split())


def one_of(words: Iterable[str]) -> str:
    """A pattern for any of some words, the longest first."""
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


def abbreviations(table: Mapping[str, str]) -> tuple[str, Callable[[re.Match], str]]:
    """The rule for words with a point behind, which is kept only where it ends the text."""
    table = {key[0].upper() + key[1:]: said for key, said in table.items() if len(key) > 1} | dict(table)
    pattern = one_of(table).replace(r"\.", r"\. ?")  # т. д. and т.д.

    def spoken(m: re.Match) -> str:
        return table[m[1] if m[1] in table else m[1].replace(" ", "")] + (" " if m[2] is None else ".")

    return rf"(?<![\w.])({pattern})\. ?(\s*$)?", spoken


def roman(numeral: str) -> int | None:
    """The value of a Roman numeral in capitals; None for what is none.

    >>> roman("XIV"), roman("IIX")
    (14, None)
    """
    if not numeral or not _ROMAN.fullmatch(numeral):
        return None
    values = [_ROMAN_DIGITS[c] for c in numeral]
    return sum(-v if v < max(values[i:]) else v for i, v in enumerate(values))


def in_words(number: int, language: str, **options) -> str:
    """A number in words by num2words, commas and hyphens left out; ImportError without the extra phonemes."""
    try:
        from num2words import num2words
    except ImportError:
        raise ImportError(f"{number} in words needs num2words: pip install 'imlspike[phonemes]'") from None
    return (
        num2words(number, lang=language, **options).replace(",", "").replace("-", " ").replace(" and ", " ")
    )
