"""Plain characters, for languages without a front end of their own; and texts that are symbols already."""

import unicodedata

from imlspike.text.punctuation import MARKS, mark, not_empty, plain_text, unspeakable


def characters(text: str, name: str = "text") -> list[str]:
    """Lower-case letters of any script, blanks between words, apostrophes and punctuation marks.

    Raises:
        ValueError: a character that is no letter (a digit, a currency sign), or nothing to speak; the
            utterance is named.

    >>> characters("Über’s – Ja!")
    ['ü', 'b', 'e', 'r', "'", 's', ' ', '-', ' ', 'j', 'a', '!']
    """
    plain, symbols, place = plain_text(text).lower(), [], 0
    while place < len(plain):
        match = MARKS.match(plain, place)
        character = match[0] if match else plain[place]
        if not match and character not in " '" and unicodedata.category(character)[0] not in "LM":
            raise unspeakable(name, character, text, "letters")
        symbols.append(mark(character))
        place += len(character)
    return not_empty(symbols, name, text)


def labels(text: str, name: str = "text") -> list[str]:
    """Split a text that is symbols already, as `imlspike durations --symbols-dir` writes it."""
    return not_empty(text.split(), name, text)
