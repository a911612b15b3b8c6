"""Plain characters, for languages without a front end of their own; and texts that are symbols already."""

import unicodedata

from imlspike.text.punctuation import NO_MARK, not_empty, plain_text, speak, unspeakable


def characters(text: str, name: str = "text") -> list[str]:
    """Lower-case letters of any script, blanks between words, apostrophes and punctuation marks.

    Raises:
        ValueError: a character that is no letter (a digit, a currency sign), or nothing to speak; the
            utterance is named.

    >>> characters("Über’s – Ja!")
    ['ü', 'b', 'e', 'r', "'", 's', ' ', '-', ' ', 'j', 'a', '!']
    """

    def symbol(character: str) -> list[str]:
        if character not in " '" and unicodedata.category(character)[0] not in "LM":
            raise unspeakable(name, character, text, "letters")
        return [character]

    return speak(plain_text(text).lower(), NO_MARK, symbol, name, text, "letters")


def labels(text: str, name: str = "text") -> list[str]:
    """Split a text that is symbols already, as `imlspike durations --symbols-dir` writes it."""
    return not_empty(text.split(), name, text)
