"""Russian: plain letters for recognition; phones by simple rules, with stress marks, in a corpus's names."""

import re
import unicodedata

from imlspike.text.punctuation import JOINT, PUNCTUATION, plain_text, speak, unspeakable

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
_WORD = re.compile(r"[а-яё+]+")
_ALPHABET = frozenset("абвгдеёжзийклмнопрстуфхцчшщъыьэюя ")
_TO_BLANK, _TO_NOTHING = '!"(),.:;?«»„“”…-‐‑–—', "+'’\u0301"
_PUNCTUATION = str.maketrans(dict.fromkeys(_TO_BLANK, " ") | dict.fromkeys(_TO_NOTHING, ""))


def normalize_russian(text: str, name: str = "text") -> str:
    """Russian text as lower-case letters and single spaces.

    Stress marks (`+` before a vowel, U+0301 after it) and the apostrophe of foreign names (д'Артуа) go
    without a trace; punctuation becomes a space, the hyphen inside a word too (какой-то). ё is kept: it is
    another vowel than е, and msu_ru_nsh writes it nearly throughout. ValueError for any other character.

    >>> normalize_russian("Она завела, прядь вол+ос за ухо, - всё-таки.")
    'она завела прядь волос за ухо всё таки'
    """
    composed = unicodedata.normalize("NFC", text.translate(_PUNCTUATION))  # и + U+0306 is й
    plain = " ".join(composed.lower().split())
    for character in plain:
        if character not in _ALPHABET:
            raise unspeakable(name, character, text, "Russian letters")
    return plain


def russian(text: str, name: str = "text") -> list[str]:
    """Phones and punctuation of Russian text, in the names of msu_ru_nsh's labels.

    Stress is where a `+` before the vowel or a U+0301 after it marks it, on ё, and on the only vowel of a
    word; without any, the vowels stay as they are written. With a stress, o and a become a or ay, and e and я
    ae. Consonants are softened, voiced and unvoiced by their neighbors, within words. -ого, -его at the end
    are spoken with v, чт as in что, -тся as c; no other exceptions are known. With few stresses marked, 69 %
    of the phones of msu_ru_nsh's sentences are those of its labels.

    ValueError for a character that is no Russian letter (a digit, a Latin one), or nothing to speak.

    >>> russian("Вол+ос, дом.")
    ['v', 'a', 'l', 'oo', 's', ',', 'd', 'oo', 'm', '.']
    """
    plain = re.sub("([аеиоуыэюя])\u0301", r"+\1", plain_text(text).lower())
    return speak(JOINT.sub(" ", plain), _WORD, _word, name, text, "Russian letters")


def _word(marked: str) -> list[str]:
    """The phones of a word in small letters, `+` before its stressed vowel if that is known."""
    word = marked.replace("+", "")
    vowels = [place for place, letter in enumerate(word) if letter in _VOWELS]
    stress = None
    if "+" in marked:
        stress = len(marked.rpartition("+")[0].replace("+", ""))
    elif "ё" in word:
        stress = word.index("ё")
    elif len(vowels) == 1 and len(word) > 2:
        stress = vowels[0]
    return _voicing(_phones(_as_spoken(word), stress))


def _as_spoken(word: str) -> str:
    """Spellings that are spoken as others of the same length."""
    if len(word) > 4 or word == "его":
        word = re.sub("([ое])го$", r"\1во", word)
    word = re.sub("^чт", "шт", word)
    return re.sub("ться$", "цьца", re.sub("тся$", "тца", word)).replace("цьца", "ццьа")


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
