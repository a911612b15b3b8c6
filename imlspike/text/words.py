"""Numbers, dates, units and abbreviations in words, by language."""

import re
from collections.abc import Callable

from imlspike.text.normalization import in_words
from imlspike.text.normalization_dutch_czech import czech_words, dutch_words
from imlspike.text.normalization_english import english_words
from imlspike.text.normalization_mandarin import mandarin_words
from imlspike.text.normalization_russian import russian_words

_THOUSANDS = re.compile(r"(?<!\d)(?<!\d )(?<!\+)(?!\d{3} \d{3} \d{3}(?! ?\d))\d{1,3}(?: \d{3})+(?! ?\d)")
_WHOLE = {"en": english_words, "ru": russian_words, "cmn": mandarin_words, "zh": mandarin_words}
_BUT_NUMBERS = {"nl": dutch_words, "cs": czech_words}


def words_of(language: str) -> Callable[[str], str]:
    """The function that puts text of a language (a code, as nl) in words, as far as there are rules for it.

    Plain numbers stay digits except in English, Russian and Mandarin; in languages without rules all stays,
    and thousands are written together (1 000 as 1000).
    """
    rules = _BUT_NUMBERS.get(language, str)
    return _WHOLE.get(language, lambda text: rules(_THOUSANDS.sub(lambda m: m[0].replace(" ", ""), text)))


def spell_out(text: str, language: str) -> str:
    """Text in words, plain numbers too, in which two writers of what was said agree.

    ImportError without num2words (extra phonemes) where there is a number; one of a language that num2words
    doesn't know stays.

    >>> spell_out("Om 5 uur", "nl"), spell_out("za 1 000 let", "cs"), spell_out("15 pm", "tlh")
    ('Om vijf uur', 'za tisíc let', '15 pm')
    """

    def said(number: re.Match) -> str:
        try:
            return in_words(number[0], language)
        except NotImplementedError:
            return number[0]

    return re.sub(r"\d+", said, words_of(language)(text))
