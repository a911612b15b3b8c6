"""Text normalization: from a corpus's transcript to the characters a recognizer is trained on."""

import re
import unicodedata

_RUSSIAN = frozenset("абвгдеёжзийклмнопрстуфхцчшщъыьэюя ")
_TO_BLANK, _TO_NOTHING = '!"(),.:;?«»„“”…-‐‑–—', "+'’\u0301"
_PUNCTUATION = str.maketrans(dict.fromkeys(_TO_BLANK, " ") | dict.fromkeys(_TO_NOTHING, ""))
_FULL_WIDTH = {0xFF21 + i: chr(65 + i) for i in range(26)} | {0xFF41 + i: chr(97 + i) for i in range(26)}


def normalize_russian(text: str, name: str = "text") -> str:
    """Russian text as lower-case letters and single spaces.

    - Stress marks (`+` before a vowel, U+0301 after it) go without a trace, and so does the apostrophe of
      foreign names (д'Артуа -> дартуа).
    - Punctuation becomes a space, the hyphen inside a word too (какой-то -> какой то): it can't be heard, and
      it is too rare to be learnt as a character of its own.
    - ё is kept. It is another vowel than е, and msu_ru_nsh writes it nearly throughout (344 times in 620
      sentences; the only words spelled both ways, все/всё and всем/всём, are different words).

    Raises:
        ValueError: for any other character (a digit, a Latin letter), naming `name` and the character.

    >>> normalize_russian("Она завела, прядь вол+ос за ухо, - всё-таки.")
    'она завела прядь волос за ухо всё таки'
    >>> normalize_russian("дом 5", name="ru_0001")
    Traceback (most recent call last):
    ValueError: ru_0001: character '5' (U+0035) in 'дом 5'; expected Russian letters. Spell it out
    """
    composed = unicodedata.normalize("NFC", text.translate(_PUNCTUATION))  # и + U+0306 is й
    plain = re.sub(r"\s+", " ", composed.lower()).strip()
    for character in plain:
        if character not in _RUSSIAN:
            raise ValueError(
                f"{name}: character {character!r} (U+{ord(character):04X}) in {text!r}; "
                "expected Russian letters. Spell it out"
            )
    return plain


def normalize_mandarin(text: str) -> str:
    """AiShell's transcript as characters: no blanks between words, letters plain and upper-case.

    Full-width letters become ASCII, as in lhotse's recipe (which knows the five that occur).

    >>> normalize_mandarin("这 件 ｔ 恤 卡拉ok")
    '这件T恤卡拉OK'
    """
    return "".join(text.translate(_FULL_WIDTH).upper().split())
