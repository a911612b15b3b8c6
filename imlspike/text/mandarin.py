"""Mandarin: initials and finals with tones, from characters (by pypinyin) or from pinyin."""

import re
import unicodedata
from collections.abc import Sequence
from functools import partial

from imlspike.text.normalization_mandarin import mandarin_words
from imlspike.text.punctuation import PUNCTUATION, UnspeakableError, plain_text, speak
from imlspike.text.tables import tables

# Longest first, as they are looked for.
INITIALS = tuple("zh ch sh b p m f d t n l g k h j q x r z c s y w".split())
FINALS = tuple(
    "a ai an ang ao e ei en eng er i ia ian iang iao ie in ing iong iu o ong ou u ua uai uan uang ue ui un "
    "uo v van ve vn ê m n ng".split()
)
TONES = "12345"
SYMBOLS = PUNCTUATION + INITIALS + tuple(final + tone for final in FINALS for tone in TONES)
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff〇]+")
_PINYIN = re.compile(r"[nl]u:e?\d|[^\s,.!?;:()\"-]+")
_GIVEN = re.compile("[a-zêü:]+[0-6]?")  # a syllable as corpora write it
_SYLLABLE = re.compile("([a-zêü:]+)([0-5]?)")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzêü12345")
_AFTER_JQXY = {"u": "v", "ue": "ve", "uan": "van", "un": "vn"}
# 儿 is a syllable of its own in these; elsewhere it is the r at the end of the one before.
_OWN_ER = re.compile(
    "(?<![\u3400-\u9fff])儿|(?<=[女婴幼孤男健胎少育托患生血宠弃形产侄妻小])儿|(?<![男女小]孩)(?<=孩)儿"
    "|儿(?=[子童女媳孙歌科戏时化茶])"
)
_READINGS = tables("mandarin")["readings"]  # what pypinyin reads otherwise


def mandarin(text: str, name: str = "text") -> list[str]:
    """Initials, finals with tones (5: neutral) and punctuation of a sentence in Chinese characters.

    Numbers and Latin letters are spoken (`imlspike.text.normalization_mandarin`). Characters with several
    readings are read in context, by pypinyin's list of phrases, which can be mistaken where phrases meet. A
    third tone before another one of the same phrase is spoken as a second; 儿 is er5 where it is a suffix
    (erhua), as in corpora's pinyin. UnspeakableError for characters that aren't Chinese or have no known
    reading; ImportError without pypinyin.

    >>> mandarin("银行，行走。")
    ['y', 'in2', 'h', 'ang2', ',', 'x', 'ing2', 'z', 'ou3', '.']
    >>> mandarin("花儿，女儿")
    ['h', 'ua1', 'er5', ',', 'n', 'v3', 'er2']
    """
    try:
        from pypinyin import Style, lazy_pinyin
    except ImportError as error:
        raise ImportError("the front end mandarin needs pypinyin: pip install pypinyin") from error

    def syllables(han: str) -> list[str]:
        options = {"style": Style.TONE3, "neutral_tone_with_five": True, "tone_sandhi": True}
        own = {found.start() for found in _OWN_ER.finditer(han)}
        readings = dict(enumerate(lazy_pinyin(han, **options, errors=list)))
        unknown = [han[i] for i, syllable in readings.items() if not set(syllable) <= _LETTERS]
        if unknown:
            raise UnspeakableError(name, unknown, text, "Chinese characters with a known reading")
        for pattern, reading in _READINGS.items():
            for found in re.finditer(pattern, han):
                readings |= dict(enumerate(reading.split(), found.end() - len(reading.split())))
        readings |= {i: "er5" for i, character in enumerate(han) if character == "儿" and i not in own}
        return [symbol for syllable in readings.values() for symbol in split_syllable(syllable, name)]

    words = mandarin_words(plain_text(text))
    return speak(words, _HAN, syllables, name, text, "Chinese characters", silent=" ·")


def pinyin(text: str, name: str = "text") -> list[str]:
    """The same from syllables of pinyin with tone numbers, as corpora give them (Baker, AISHELL-3).

    >>> pinyin("ka2 er2 pu3, nv3")
    ['k', 'a2', 'er2', 'p', 'u3', ',', 'n', 'v3']
    """
    syllables = partial(split_syllable, name=name)
    return speak(plain_text(text).lower(), _PINYIN, syllables, name, text, "pinyin", silent=" ")


def split_syllable(syllable: str, name: str = "text") -> list[str]:
    """A syllable of pinyin as its initial, where it has one, and its final with the tone (none: 5).

    An r at its end (erhua) is a syllable er5 of its own. ValueError for what is no syllable.

    >>> split_syllable("zhuang1"), split_syllable("yuan2"), split_syllable("er2"), split_syllable("wanr2")
    (['zh', 'uang1'], ['y', 'van2'], ['er2'], ['w', 'an2', 'er5'])
    >>> split_syllable("zher4")
    ['zh', 'e4', 'er5']
    """
    match = _SYLLABLE.fullmatch(syllable.lower())
    letters, tone = match.groups() if match else ("", "")
    letters, tone = letters.replace("u:", "v").replace("ü", "v"), tone.replace("0", "") or "5"
    initial = next((i for i in INITIALS if letters.startswith(i) and letters[len(i) :] in FINALS), "")
    final = letters[len(initial) :]
    if letters.endswith("r") and letters != "er":
        return [*split_syllable(letters[:-1] + tone, name), "er5"]
    if final not in FINALS:
        raise ValueError(f"{name}: {syllable!r} is no syllable of pinyin with a tone number, as in ni3")
    if initial in ("j", "q", "x", "y"):
        final = _AFTER_JQXY.get(final, final)
    return ([initial] if initial else []) + [final + tone]


def check_syllables(syllables: Sequence[str]) -> None:
    """Raise ValueError unless each is lower-case letters and a tone (`ni3`; not `IY1`, a spelled letter)."""
    for syllable in syllables:
        if not _GIVEN.fullmatch(syllable):
            raise ValueError(f"{syllable!r} in its pinyin is no syllable with a tone, as ni3")


def with_punctuation(text: str, syllables: Sequence[str]) -> str:
    """The syllables of a text with its punctuation between them, each a word of its own.

    Each Chinese character is one syllable, but 儿 may be the r at the end of the one before (nar3: 哪儿).
    ValueError for other characters, more or fewer syllables, or what `check_syllables` refuses.

    >>> with_punctuation("在哪儿，儿子？", ["zai4", "nar3", "er2", "zi5"])
    'zai4 nar3 ， er2 zi5 ？'
    """
    check_syllables(syllables)
    words: list[str] = []
    left, may_end_in_r = list(syllables), False
    for character in text:
        if character == "儿" and may_end_in_r:
            may_end_in_r = False
        elif _HAN.match(character):
            if not left:
                raise ValueError(f"more characters in {text!r} than its {len(syllables)} syllables of pinyin")
            words.append(left.pop(0))
            may_end_in_r = bool(re.fullmatch("(?!er).*r[0-6]?", words[-1]))
        elif unicodedata.category(character)[0] == "P":
            words.append(character)
            may_end_in_r = False
        elif not character.isspace():
            raise ValueError(f"character {character!r} in {text!r} is neither Chinese nor punctuation")
    if left:
        raise ValueError(f"fewer characters in {text!r} than its {len(syllables)} syllables of pinyin")
    return " ".join(words)
