"""What the front ends share: words, punctuation marks, and what to say of what can't be spoken."""

import re
import unicodedata
from collections.abc import Callable

PUNCTUATION = (",", ".", "!", "?", ";", ":", "-", "...", "(", ")", '"')
_SAME = {
    **dict.fromkeys("“”„«»「」『』《》〝〞", '"'),
    **dict.fromkeys("‑‒–—―−", " - "),
    **dict.fromkeys("，、､", ","),
    **dict.fromkeys("’‘ʼ`´", "'"),
    **dict.fromkeys("（[【［{", "("),
    **dict.fromkeys("）]】］}", ")"),
    "。": ".",
    "！": "!",
    "？": "?",
    "；": ";",
    "：": ":",
    "…": "...",
}
_PLAIN = str.maketrans(_SAME)
MARKS = re.compile(r"\.\.+|[,.!?;:()\"-]")
_BLANK = re.compile(r"\s+")


def plain_text(text: str) -> str:
    """Text in composed Unicode with one form for each punctuation mark and single blanks.

    >>> plain_text("«Да»  –  сказал он…")
    '"Да" - сказал он...'
    """
    return _BLANK.sub(" ", unicodedata.normalize("NFC", text).translate(_PLAIN)).strip()


def mark(match: str) -> str:
    """The symbol of a punctuation mark: two full stops or more are an ellipsis."""
    return "..." if match.startswith("..") else match


def unspeakable(name: str, character: str, text: str, expected: str) -> ValueError:
    """The error for a character that a front end can't speak."""
    return ValueError(
        f"{name}: character {character!r} (U+{ord(character):04X}) in {text!r}; expected {expected} or "
        "punctuation. Spell it out"
    )


def speak(
    plain: str, word: re.Pattern, phones: Callable[[str], list[str]], name: str, text: str, expected: str
) -> list[str]:
    """Symbols of a sentence: the phones of its words and its punctuation marks, in their order.

    Args:
        plain: the sentence as `plain_text` gives it; a hyphen that joins two letters isn't heard.
        word: what a word looks like.
        phones: from a word to its phones.
        name, text, expected: of the utterance as it was written, for errors, see `unspeakable`.

    Raises:
        ValueError: a character that is in no word and no mark, or nothing but punctuation.

    >>> speak("a-b, c", re.compile("[a-z]"), str.split, "a1", "a-b, c", "letters")
    ['a', 'b', ',', 'c']
    """
    symbols, place = [], 0
    while place < len(plain):
        if found := word.match(plain, place):
            symbols += phones(found[0])
            place = found.end()
        elif plain[place] == "-" and _inside_a_word(plain, place):
            place += 1
        elif match := MARKS.match(plain, place):
            symbols.append(mark(match[0]))
            place = match.end()
        elif plain[place] in " '":
            place += 1
        else:
            raise unspeakable(name, plain[place], text, expected)
    return not_empty(symbols, name, text)


def _inside_a_word(text: str, place: int) -> bool:
    """Whether a hyphen joins two letters (well-known), so that nobody pauses."""
    return 0 < place < len(text) - 1 and text[place - 1].isalpha() and text[place + 1].isalpha()


def not_empty(symbols: list[str], name: str, text: str) -> list[str]:
    """Return `symbols`; ValueError, naming the utterance, if nothing but punctuation is left to speak."""
    if all(symbol in PUNCTUATION or symbol == " " for symbol in symbols):
        raise ValueError(f"{name}: nothing to speak in {text!r}")
    return symbols
