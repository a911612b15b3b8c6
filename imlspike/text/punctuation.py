"""Spoken text: the scan that all front ends share, and its punctuation marks."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache

PUNCTUATION = (",", ".", "!", "?", ";", ":", "-", "...", "(", ")", '"')
_PLAIN = {
    **dict.fromkeys("„‚‹›「」『』《》〈〉〝〞〟″〃＂", '"'),
    **dict.fromkeys("’‘‛ʼʻʹ`′՚ꞌ", "'"),
    **dict.fromkeys("‐‑⁃−", "-"),  # hyphens join; a dash is a pause
    **dict.fromkeys("―⸺⸻〜～", " - "),
    **dict.fromkeys("，、､،՝", ","),
    **dict.fromkeys("։॥෴჻", "."),
    **dict.fromkeys("[{", "("),
    **dict.fromkeys("]}", ")"),
    **dict.fromkeys("・‧⋅", "·"),
    **dict.fromkeys("•‣▪●◦\u2800\u3164\u115f\u1160", " "),
    **dict(zip("。！？；：؟؛।⁄∕º", ".!?;:?;.//°", strict=True)),
    **dict.fromkeys("¿¡\u034f", ""),
    **{c: c for c in "№²³™"},  # spoken as words
    "…": "...",
    "⋯": "...",
    **{"㎡": "m²", "㎥": "m³", "㎢": "km²"},
    "‽": "?!",
}
_CATEGORIES = dict.fromkeys(("Zs", "Zl", "Zp"), " ") | dict.fromkeys(("Pi", "Pf"), '"')
_CATEGORIES |= {"Cf": "", "Pd": " - ", "Ps": "(", "Pe": ")"}
_POWER = re.compile("(?<!\\d)(\\d{1,2})([⁰¹⁴-⁹⁺⁻][⁰¹²³⁴-⁹]*|[²³][⁰¹²³⁴-⁹]+)")
_APART = re.compile("(?<=\\d)(?=[⁰¹⁴-⁹₀-₉①-⑳])")  # 12① is no 121
# A mark of a footnote (¹ or [3]) directly behind a word (three letters: cm² is a unit), a year or a mark.
_NOTE = re.compile(
    '(?:(?<=[^\\W\\d_]{3})(?<!sin|cos|tan|log)|(?<=[\u3400-\u9fff])|(?<=[.,!?;:)"”»。，！？；：）」』])|(?<=\\d{4}))'
    "(?:[⁰¹²³⁴-⁹]+(?:[,⁻–-][⁰¹²³⁴-⁹]+)*|(?:\\[\\d{1,3}\\])+)"
)
_MINUS = re.compile("(?<![⁰¹²³⁴-⁹₀-₉])[−⁻₋](?! ?[\\d.$€£¥⁰¹²³⁴-⁹₀-₉])")  # before no number it is a dash
_APOSTROPHE = re.compile("(?<=\\w)´|´(?=\\w)")  # alone it is an accent
_MARK_OR_UNSEEN = ("Mn", "Mc", "Me", "Cf")
_MARKS = re.compile(r"\.\.+|[,.!?;:()\"-]")
NO_MARK = re.compile(r"[^,.!?;:()\"-]")
JOINT = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")  # a hyphen that joins two letters (well-known) isn't heard


class UnspeakableError(ValueError):
    """Characters that a front end can't speak, all of a text at once.

    Attributes:
        places: from each of them to where it stands in the text, counted from 1.
        rest: the text without them, a blank instead inside a word; ValueError if that is nothing to speak.
    """

    def __init__(self, name: str, characters: Iterable[str], text: str, expected: str):
        self.places: dict[str, list[int]] = {}
        self.expected, rest = expected, list(text)
        for character in dict.fromkeys(characters):
            spans = [(i, i + 1) for i, c in enumerate(text) if character in _forms(c)]
            if not spans:  # a letter and its marks apart, that were composed
                first, *marks = unicodedata.normalize("NFD", character)
                starts = (i for i, c in enumerate(text) if first in _forms(c))
                spans = [(start, end) for start in starts if (end := _end_of(text, start, marks)) > start + 1]
            spans = spans or _changed(text)  # that only the normalization makes
            self.places[character] = [start + 1 for start, _ in spans]
            for start, end in spans:
                rest[start:end] = "\0" * (end - start)
        self._rest = re.sub(r"\s?\0+(?!\w)", "", "".join(rest)).replace("\0", " ")
        told = [
            f"{character!r} (U+{ord(character):04X}) at {_few(list(map(str, places)), ', ')}"
            for character, places in self.places.items()
        ]
        shown = repr(text if len(text) <= 80 else text[:77] + "...")
        told = f"character {_few(told, '; ')}"
        self._nothing = f"{name}: nothing to speak in {shown} without {told}; expected {expected}"
        super().__init__(
            f"{name}: {told} in {shown}; expected {expected} or punctuation. "
            "Spell it out, or leave it out by --on-unknown skip"
        )

    @property
    def rest(self) -> str:
        if set(plain_text(self._rest)) <= set(" '·,.!?;:()\"-"):
            raise ValueError(self._nothing) from None
        return self._rest


def _few(items: list[str], between: str, most: int = 20) -> str:
    """The first items, and how many there are beside."""
    return between.join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def _changed(text: str) -> list[tuple[int, int]]:
    """The spans of characters that NFKC changes; else of all but letters, digits and blanks; else of all."""
    tests = (lambda c: unicodedata.normalize("NFKC", c) != c, lambda c: not (c.isalnum() or c.isspace()))
    found = ([(i, i + 1) for i, c in enumerate(text) if test(c)] for test in (*tests, bool))
    return next(filter(None, found), [])


def _end_of(text: str, start: int, marks: list[str]) -> int:
    """The place behind a letter with its marks, and behind what isn't seen between them."""
    end = start + 1
    while end < len(text) and (text[end] in marks or unicodedata.category(text[end]) in _MARK_OR_UNSEEN):
        end += 1
    return end


@cache
def _clean(character: str) -> str:
    """A character in plain Unicode: one form for each mark, digit and blank, ligatures in letters."""
    if character in _PLAIN or character.isascii():
        return _PLAIN.get(character, character)
    if (category := unicodedata.category(character)) in _CATEGORIES:
        return _CATEGORIES[category]
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if "VARIATION SELECTOR" in unicodedata.name(character, ""):
        return ""
    if unicodedata.decomposition(character).startswith("<"):
        plain = unicodedata.normalize("NFKC", character)
        if all(c.isspace() or unicodedata.combining(c) for c in plain):
            return character  # an accent that stands by itself
        plain = "".join(map(_clean, plain))
        return " " + plain if "/" in plain else plain  # 2½ is 2 1/2
    if category == "No" and (value := unicodedata.numeric(character)).is_integer():  # ❶
        return f" {value:.0f} "
    return character


@cache
def _forms(character: str) -> str:
    """All that may become of a character: plain, in small letters, decomposed."""
    forms = character + _clean(character)
    return forms + forms.lower() + unicodedata.normalize("NFD", forms + forms.lower())


def plain_text(text: str) -> str:
    """Text in composed Unicode with one form for each punctuation mark, letter, digit, and single blanks.

    Not heard are characters without a width, bullets, and the marks of footnotes (word¹, word[2]).

    >>> plain_text("\\ufeff«Да»  –  ска\\u00adзал о\\ufb01s…")
    '"Да" - сказал оfis...'
    """
    text = _MINUS.sub(" - ", _APOSTROPHE.sub("'", _NOTE.sub("", text)))
    text = _APART.sub(" ", _POWER.sub(lambda m: m[1] + "^" + unicodedata.normalize("NFKC", m[2]), text))
    plain = "".join(map(_clean, unicodedata.normalize("NFC", text)))
    return " ".join(unicodedata.normalize("NFC", plain).split())


def speak(
    plain: str,
    word: re.Pattern,
    symbols_of: Callable[[str], list[str]],
    name: str,
    text: str,
    expected: str,
    silent: str = " '·",
) -> list[str]:
    """Symbols of a sentence: those of its words and its punctuation marks, in their order.

    Args:
        plain: the sentence as `plain_text` gives it.
        word: what a word looks like.
        symbols_of: from a word to its symbols.
        name, text, expected: the utterance, its text as it was written, what it may hold: for errors.
        silent: characters that may stand between words.

    Raises:
        UnspeakableError: characters that are in no word and no mark.
        ValueError: nothing but punctuation.

    >>> speak("ab, c", re.compile("[a-z]+"), list, "a1", "ab, c", "letters")
    ['a', 'b', ',', 'c']
    """
    symbols: list[str] = []
    unknown: dict[str, None] = {}
    place = 0
    while place < len(plain):
        if found := word.match(plain, place):
            try:
                symbols += symbols_of(found[0])
            except UnspeakableError as error:
                unknown.update(dict.fromkeys(error.places))
        elif found := _MARKS.match(plain, place):
            symbols.append("..." if found[0].startswith("..") else found[0])
        elif plain[place] not in silent:
            unknown[plain[place]] = None
        place = found.end() if found else place + 1
    if unknown:
        raise UnspeakableError(name, unknown, text, expected)
    return not_empty(symbols, name, text)


def not_empty(symbols: list[str], name: str, text: str) -> list[str]:
    """Return `symbols`; ValueError, naming the utterance, if nothing but punctuation is left to speak."""
    if all(symbol in PUNCTUATION or symbol == " " for symbol in symbols):
        raise ValueError(f"{name}: nothing to speak in {text!r}")
    return symbols
