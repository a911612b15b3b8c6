"""Spoken text: the scan that all front ends share, and its punctuation marks."""

import re
import unicodedata
from collections.abc import Callable

PUNCTUATION = (",", ".", "!", "?", ";", ":", "-", "...", "(", ")", '"')
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("“”„«»「」『』《》〝〞", '"'),
        **dict.fromkeys("‑‒–—―−", " - "),
        **dict.fromkeys("，、､", ","),
        **dict.fromkeys("’‘ʼ`´", "'"),
        **dict.fromkeys("（[【［{", "("),
        **dict.fromkeys("）]】］}", ")"),
        **dict(zip("。！？；：", ".!?;:", strict=True)),
        "…": "...",
    }
)
_MARKS = re.compile(r"\.\.+|[,.!?;:()\"-]")
NO_MARK = re.compile(r"[^,.!?;:()\"-]")
JOINT = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")  # a hyphen that joins two letters (well-known) isn't heard


def plain_text(text: str) -> str:
    """Text in composed Unicode with one form for each punctuation mark and single blanks.

    >>> plain_text("«Да»  –  сказал он…")
    '"Да" - сказал он...'
    """
    return " ".join(unicodedata.normalize("NFC", text).translate(_PLAIN).split())


def speak(
    plain: str,
    word: re.Pattern,
    symbols_of: Callable[[str], list[str]],
    name: str,
    text: str,
    expected: str,
    silent: str = " '",
) -> list[str]:
    """Symbols of a sentence: those of its words and its punctuation marks, in their order.

    Args:
        plain: the sentence as `plain_text` gives it.
        word: what a word looks like.
        symbols_of: from a word to its symbols.
        name, text, expected: the utterance, its text as it was written, what it may hold: for errors.
        silent: characters that may stand between words.

    Raises:
        ValueError: a character that is in no word and no mark, or nothing but punctuation.

    >>> speak("ab, c", re.compile("[a-z]+"), list, "a1", "ab, c", "letters")
    ['a', 'b', ',', 'c']
    """
    symbols, place = [], 0
    while place < len(plain):
        if found := word.match(plain, place):
            symbols += symbols_of(found[0])
        elif found := _MARKS.match(plain, place):
            symbols.append("..." if found[0].startswith("..") else found[0])
        elif plain[place] not in silent:
            raise unspeakable(name, plain[place], text, expected)
        place = found.end() if found else place + 1
    return not_empty(symbols, name, text)


def unspeakable(name: str, character: str, text: str, expected: str) -> ValueError:
    """The error for a character that a front end can't speak."""
    where = f"{name}: character {character!r} (U+{ord(character):04X}) in {text!r}"
    return ValueError(f"{where}; expected {expected} or punctuation. Spell it out")


def not_empty(symbols: list[str], name: str, text: str) -> list[str]:
    """Return `symbols`; ValueError, naming the utterance, if nothing but punctuation is left to speak."""
    if all(symbol in PUNCTUATION or symbol == " " for symbol in symbols):
        raise ValueError(f"{name}: nothing to speak in {text!r}")
    return symbols
