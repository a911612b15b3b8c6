"""Russian: plain letters for recognition; phones by simple rules, with stress marks, in a corpus's names."""

import re
from functools import cache

from imlspike.text.espeak import espeak_backend
from imlspike.text.normalization_russian import russian_words
from imlspike.text.punctuation import JOINT, PUNCTUATION, UnspeakableError, plain_text, speak
from imlspike.text.tables import tables

# The names of msu_ru_nsh's labels: a doubled consonant is soft, a doubled vowel stressed; ay and ae are the
# reduced vowels behind hard and soft consonants, ur a reduced u.
STRESSED = ("aa", "ee", "ii", "oo", "uu", "yy")
UNSTRESSED = ("a", "ae", "ay", "e", "i", "o", "u", "ur", "y")
_PAIRED = "b v g d z k l m n p r s t f h".split()
CONSONANTS = (*_PAIRED, *(c + c[-1] for c in _PAIRED), "zh", "sh", "c", "ch", "sch", "j")
SYMBOLS = PUNCTUATION + ("pau",) + CONSONANTS + STRESSED + UNSTRESSED

_LETTERS = dict(zip("бвгдзклмнпрстфхжшцчщй", [*_PAIRED, "zh", "sh", "c", "ch", "sch", "j"], strict=True))
_VOWELS = dict(zip("аеёиоуыэюя", ["a", "e", "o", "i", "o", "u", "y", "e", "u", "a"], strict=True))
_SOFTENING, _ALWAYS_HARD, _ALWAYS_SOFT = "еёиюяь", ("zh", "sh", "c"), ("ch", "sch", "j")
_VOICED = dict(zip("b v g d z zh".split(), "p f k t s sh".split(), strict=True))
_VOICELESS = {voiceless: voiced for voiced, voiceless in _VOICED.items()}
_NEVER_VOICE = ("l", "m", "n", "r", "j", "v")
# A word, and a preposition before it that takes its voice.
_WORD = re.compile("(?:(?:[вкс]|из|под|над|от|об|без|перед|через) )?[а-яё+]+")
_ALPHABET = frozenset("абвгдеёжзийклмнопрстуфхцчшщъыьэюя ")
_SILENT = re.compile("[+'\u0301\u0300]")
_MARKS = re.compile('[,.!?;:()"-]')
_STRESSED_OTHERWISE = {"душа": 3, "потом": 3, "перед": 1}  # espeak-ng errs
_IPA_VOWEL = re.compile("([ˈˌ]?)[^ˈˌaeiouɛɪʊʌyəɨæɑɔɵøʉ]*[aeiouɛɪʊʌyəɨæɑɔɵøʉ](?!\\^)")
_AS_SPOKEN = [(re.compile(pattern), by) for pattern, by in tables("russian")["as_spoken"].items()]


def normalize_russian(text: str, name: str = "text") -> str:
    """Russian text as lower-case letters and single spaces.

    Stress marks (`+` before a vowel, U+0301 after it) and the apostrophe of foreign names (д'Артуа) go
    without a trace; punctuation becomes a space, the hyphen inside a word too (какой-то). ё is kept: it is
    another vowel than е, and msu_ru_nsh writes it nearly throughout. UnspeakableError for other characters.

    >>> normalize_russian("Она завела, прядь вол+ос за ухо, - всё-таки.")
    'она завела прядь волос за ухо всё таки'
    """
    plain = " ".join(_MARKS.sub(" ", _SILENT.sub("", plain_text(text))).lower().split())
    if unknown := [character for character in plain if character not in _ALPHABET]:
        raise UnspeakableError(name, unknown, text, "Russian letters")
    return plain


def russian(text: str, name: str = "text", marked: bool = False) -> list[str]:
    """Phones and punctuation of Russian text, in the names of msu_ru_nsh's labels.

    Numbers, abbreviations, capitals, Latin letters are spoken (`imlspike.text.normalization_russian`). Stress
    is where a `+` before the vowel or a U+0301 after it marks it, on ё, on the only vowel of a word, and else
    where espeak-ng has it. With a stress, o and a become a or ay, and e and я ae. Consonants are softened,
    voiced and unvoiced by their neighbors, within words and between a preposition and its word. The spellings
    that are spoken otherwise (того with v, что, конечно) are in normalization.yaml.

    Args:
        marked: don't ask espeak-ng; vowels of words without a stress stay as they are written (the front end
            russian:marked: voices that were trained before espeak-ng was asked).

    Raises:
        UnspeakableError: characters that are no Russian letters.
        ValueError: nothing to speak.
        ImportError: without espeak-ng or num2words (extra phonemes), where they are asked.

    >>> russian("Вол+ос, дом.")
    ['v', 'a', 'l', 'oo', 's', ',', 'd', 'oo', 'm', '.']
    """
    words = russian_words(plain_text(text)).lower().replace("\u0300", "").translate(str.maketrans("ѐѝ", "еи"))
    plain = JOINT.sub(" ", re.sub("([аеёиоуыэюя])\u0301", r"+\1", words))

    def phones(found: str) -> list[str]:
        return _voicing([phone for word in found.split() for phone in _word(word, marked)])

    return speak(plain, _WORD, phones, name, text, "Russian letters")


@cache
def stress_of(word: str) -> int | None:
    """The place of the letter that espeak-ng stresses in a word in small letters; None: not known."""
    vowels = [place for place, letter in enumerate(word) if letter in _VOWELS]
    try:
        spoken = espeak_backend("ru").phonemize([word], strip=True)[0]
    except ImportError as error:
        raise ImportError(f"{error}, which stresses {word!r}; or mark it (+ before the vowel)") from None
    stresses = [found[1] for found in _IPA_VOWEL.finditer(spoken)]
    main = next((mark for mark in "ˈˌ" if mark in stresses), None)
    if word in _STRESSED_OTHERWISE or main is None or len(stresses) != len(vowels):
        return _STRESSED_OTHERWISE.get(word)
    return vowels[stresses.index(main)]


def _word(written: str, marked: bool) -> list[str]:
    """The phones of a word in small letters, `+` before its stressed vowel if that is known."""
    word = written.replace("+", "")
    vowels = [place for place, letter in enumerate(word) if letter in _VOWELS]
    stress = None
    if "+" in written:
        stress = len(written.rpartition("+")[0].replace("+", ""))
    elif "ё" in word:
        stress = word.index("ё")
    elif len(vowels) == 1 and len(word) > 2:
        stress = vowels[0]
    elif len(vowels) > 1 and not marked:
        stress = stress_of(word)
    nth = None if stress is None else vowels.index(stress)
    for pattern, by in _AS_SPOKEN:
        word = pattern.sub(by, word)
    return _phones(word, None if nth is None else [i for i, c in enumerate(word) if c in _VOWELS][nth])


def _phones(word: str, stress: int | None) -> list[str]:
    phones: list[str] = []
    vowels = [place for place, letter in enumerate(word) if letter in _VOWELS]
    for place, letter in enumerate(word):
        before, after = word[place - 1 : place], word[place + 1 : place + 2]
        if letter in _VOWELS:
            if letter in "еёюя" and (not before or before in "ьъ" or before in _VOWELS):
                phones.append("j")
            elif letter == "и" and before == "ь":
                phones.append("j")
            soft = bool(phones) and (phones[-1] in _ALWAYS_SOFT or _is_soft(phones[-1]))
            pretonic = stress is not None and (not place or [v for v in vowels if v > place][:1] == [stress])
            hard = bool(phones) and phones[-1] in _ALWAYS_HARD
            phones.append(_vowel(letter, place == stress, stress is not None, soft, hard, pretonic))
        elif letter in _LETTERS:
            phone = _LETTERS[letter]
            if after in tuple(_SOFTENING) and phone in _PAIRED:
                phone += phone
            if not phones or phones[-1] != phone:  # doubled letters are one sound
                phones.append(phone)
    return phones


def _vowel(letter: str, stressed: bool, known: bool, soft: bool, hard: bool, pretonic: bool) -> str:
    vowel = "y" if letter == "и" and hard else _VOWELS[letter]
    if stressed:
        return vowel + vowel
    if not known or vowel in "iuy":
        return vowel
    if soft:
        return "ae" if vowel in "ea" else vowel
    return {"o": "a", "a": "a", "e": "y"}[vowel] if pretonic or vowel == "e" else "ay"


def _voicing(phones: list[str]) -> list[str]:
    """Consonants take the voice of the consonant behind them, and lose it at the end of the word."""
    spoken = list(phones)
    for place in range(len(spoken) - 1, -1, -1):
        phone, soft = _hard(spoken[place]), _is_soft(spoken[place])
        after = _hard(spoken[place + 1]) if place + 1 < len(spoken) else None
        if phone in _VOICED and (after is None or after in (*_VOICELESS, "h", "c", "ch", "sch")):
            phone = _VOICED[phone]
        elif phone in _VOICELESS and after in _VOICED and after not in _NEVER_VOICE:
            phone = _VOICELESS[phone]
        else:
            continue
        spoken[place] = phone + phone if soft else phone
    return spoken


def _is_soft(phone: str) -> bool:
    return len(phone) == 2 and phone[0] == phone[1] and phone[0] in _PAIRED


def _hard(phone: str) -> str:
    return phone[0] if _is_soft(phone) else phone
