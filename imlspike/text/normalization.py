"""Shared parts of the grammars: rules, numbers by num2words, Roman numerals, addresses."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import yaml

from imlspike.text.sentences import split_sentences
from imlspike.text.tables import abbreviated, one_of

_RULES = yaml.safe_load(Path(__file__).with_name("rules.yaml").read_text(encoding="utf-8"))
LONGEST = 1000  # characters that rules see at once: their time grows with the square
_MANY_DIGITS = re.compile(r"\d{40,}")
Rule = tuple[re.Pattern, Callable[[re.Match], str] | str]

_ADDRESS = re.compile(
    r"(?:(?:https?|ftp)://|www\.)[^\s,;!\"()]+|(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|(?<![\w@./])(?:[a-z\d][a-z\d-]*\.)+(?:com|org|net|edu|gov|info|ru|cn|io|uk|de|nl|cz|eu|fr|ai|app|dev|tv)(?![\w-])(?:/[^\s,;!\"()]*)?",
    re.IGNORECASE,
)
_PART = re.compile(r"(\\\d|\{.+?\})")  # of what a rule says
_ROMAN = re.compile("M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_ROMAN_DIGITS = dict(zip("IVXLCDM", (1, 5, 10, 50, 100, 500, 1000), strict=True))


def grammar(language: str, words: Mapping, module: Mapping, **patterns: str) -> list[Rule]:
    """Compile the rules of a language in rules.yaml: its tables, its module's functions, more patterns.

    KeyError for what a rule names and nothing has.
    """
    known = {name: one_of(table) for name, table in words.items()} | _RULES["shared"]["patterns"]
    known |= _RULES[language]["patterns"] | patterns

    def fill(pattern: str) -> str:
        return re.sub(r"\{([a-z_]+)\}", lambda m: fill(known[m[1]]), pattern)

    def part(template: str) -> Callable[[re.Match], str]:
        if not _PART.fullmatch(template):
            return lambda m: template
        if template[0] == "\\":
            return lambda m: m[int(template[1])] or ""
        name, of_group, argument = template[1:-1].partition(":")
        if not of_group:
            word = words["words"].get(name)
            return module[name] if word is None else lambda m: word
        group, *options = argument.split(",")
        say = module[name] if name in module else partial(_look_up, words[name])
        return lambda m: str(say(m[int(group or m.lastindex)], *options))

    def said(template: str) -> Callable[[re.Match], str]:
        parts = [part(text) for text in _PART.split(template)]
        return lambda m: "".join(say(m) for say in parts)

    def compiled(rules: list) -> Iterator[Rule]:
        for rule in rules:
            if not isinstance(rule, str):
                yield re.compile(fill(rule[0])), said(rule[1])
            elif rule in words:
                yield abbreviations(words[rule])
            else:
                yield from compiled(_RULES["shared"][rule])

    return list(compiled(_RULES[language]["rules"]))


def _look_up(table: Mapping[str, str], written: str) -> str:
    return table.get(written) or table[written.lower()]


def dates(say: Callable[[re.Match, int, int, str], str]) -> Callable[[re.Match], str]:
    """A function for the groups d, m, y of a match, which says it with its day, month, year if these may be.

    A month above 12 that stands first is the day; two digits of a year are of 1950 to 2049.
    """

    def date(m: re.Match) -> str:
        day, month, year = int(m["d"]), int(m["m"]), m["y"]
        day, month = (month, day) if month > 12 and m.start("m") < m.start("d") else (day, month)
        year = year if len(year) == 4 else ("20" if year < "50" else "19") + year
        return say(m, day, month, year) if 0 < month < 13 and 0 < day < 32 else m[0]

    return date


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


def abbreviations(table: Mapping[str, str]) -> Rule:
    """The rule for words with a point behind, which is kept only where it ends the text."""

    def spoken(m: re.Match) -> str:
        short = m[1] if m[1] in table else m[1].replace(" ", "")
        return (table.get(short) or table[short[0].lower() + short[1:]]) + (" " if m[2] is None else ".")

    return re.compile(rf"(?<![\w.])({abbreviated(table)})\. ?(\s*$)?"), spoken


def declined(noun: str, forms: Mapping[str, str]) -> list[str]:
    """The forms of a noun behind 1, 2, 5, ... by a table of endings (_ for others), adjectives with it."""
    said, before = [], ""
    for word in noun.split():
        ending = next((end for end in forms if word.endswith(end)), "_")
        ends = forms[ending].split("/")
        if before and word[-1] not in "íý" and not before.endswith("ая"):
            ends = [ending.strip("_")] * len(ends)  # градус Цельсия
        said.append([word.removesuffix(ending) + end for end in ends])
        before = word
    return [" ".join(form) for form in zip(*said, strict=True)]


def roman(numeral: str) -> int | None:
    """The value of a Roman numeral in capitals; None for what is none.

    >>> roman("XIV"), roman("IIX")
    (14, None)
    """
    if not numeral or not _ROMAN.fullmatch(numeral):
        return None
    values = [_ROMAN_DIGITS[c] for c in numeral]
    return sum(-v if v < max(values[i:]) else v for i, v in enumerate(values))


def in_words(number: int | str, language: str, **options) -> str:
    """A number in words by num2words, commas and hyphens left out; ImportError without the extra phonemes.

    A text is digits with commas between thousands, a Roman numeral or a decimal number.
    """
    try:
        from num2words import num2words
    except ImportError:
        raise ImportError(f"{number} in words needs num2words: pip install 'imlspike[phonemes]'") from None
    digits = str(number).replace(",", "")
    value = roman(digits) or (int(digits) if digits.isdecimal() else digits)
    return num2words(value, lang=language, **options).replace(",", "").replace("-", " ").replace(" and ", " ")
