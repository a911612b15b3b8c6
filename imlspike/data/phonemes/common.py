"""What the front ends share: punctuation marks, and what to say of a character that can't be spoken."""

import re
import unicodedata

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
    """The symbol of a punctuation mark: two full stops or more are an ellipsis.

    >>> mark(".."), mark("?")
    ('...', '?')
    """
    return "..." if match.startswith("..") else match


def unspeakable(name: str, character: str, text: str, expected: str) -> ValueError:
    """The error for a character that a front end can't speak.

    >>> print(unspeakable("a1", "5", "5 men", "English letters"))
    a1: character '5' (U+0035) in '5 men'; expected English letters or punctuation. Spell it out
    """
    return ValueError(
        f"{name}: character {character!r} (U+{ord(character):04X}) in {text!r}; expected {expected} or "
        "punctuation. Spell it out"
    )


def not_empty(symbols: list[str], name: str, text: str) -> list[str]:
    """`symbols`, unless nothing but punctuation is left to speak.

    Raises:
        ValueError: naming the utterance.

    >>> not_empty(["a", "."], "a1", "a.")
    ['a', '.']
    """
    if all(symbol in PUNCTUATION or symbol == " " for symbol in symbols):
        raise ValueError(f"{name}: nothing to speak in {text!r}")
    return symbols
