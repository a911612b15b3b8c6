"""Text front ends for speech synthesis: from a sentence to the symbols that a voice speaks.

A front end is a function of (text, name) that returns a list of symbols; `name` is the utterance's, for
errors. Punctuation marks are symbols of their own, heard as pauses and melody. A character that can't be spoken
(a digit, a letter of another script) is an error: dropped in silence, it is a voice that skips words.
"""

from collections.abc import Callable, Iterable

from imlspike.data.keys import check_choice
from imlspike.text.characters import characters, labels
from imlspike.text.english import SYMBOLS as ENGLISH_SYMBOLS
from imlspike.text.english import English
from imlspike.text.espeak import espeak
from imlspike.text.mandarin import SYMBOLS as MANDARIN_SYMBOLS
from imlspike.text.mandarin import mandarin, pinyin
from imlspike.text.russian import SYMBOLS as RUSSIAN_SYMBOLS
from imlspike.text.russian import russian

FrontEnd = Callable[[str, str], list[str]]

# What makes each front end, and all the symbols that it may give (None: those of the corpus).
FRONT_ENDS: dict[str, tuple[Callable[[], FrontEnd], tuple[str, ...] | None]] = {
    "english": (English, ENGLISH_SYMBOLS),
    "mandarin": (lambda: mandarin, MANDARIN_SYMBOLS),
    "pinyin": (lambda: pinyin, MANDARIN_SYMBOLS),
    "russian": (lambda: russian, RUSSIAN_SYMBOLS),
    "characters": (lambda: characters, None),
    "labels": (lambda: labels, None),
}


def front_end(name: str) -> FrontEnd:
    """The front end of this name: one of `FRONT_ENDS`, or `espeak:<language>` (as espeak:nl).

    Raises:
        ValueError: there is none (the nearest is named), or no such language.
        ImportError: it needs a library that isn't installed; the message says which.

    >>> front_end("characters")("Yes, no.", "a1")
    ['y', 'e', 's', ',', ' ', 'n', 'o', '.']
    """
    if name.startswith("espeak:"):
        return espeak(name.removeprefix("espeak:"))
    check_choice("front end", name, [*FRONT_ENDS, "espeak:<language>"])
    return FRONT_ENDS[name][0]()


def symbols_of(name: str, sentences: Iterable[Iterable[str]] = ()) -> list[str]:
    """All symbols of a front end, in a fixed order; of one that takes any character, those in `sentences`.

    >>> symbols_of("characters", [["b", "a"], ["a", "."]])
    ['.', 'a', 'b']
    >>> len(symbols_of("english"))
    80
    """
    symbols = FRONT_ENDS.get(name, (None, None))[1]
    return list(symbols or sorted({symbol for sentence in sentences for symbol in sentence}))


def to_numbers(sentence: Iterable[str], symbols: Iterable[str], name: str = "text") -> list[int]:
    """The place of each symbol in the list that a model was trained with.

    Raises:
        ValueError: a symbol that isn't in the list; the utterance and the symbol are named.

    >>> to_numbers(["b", "a"], ["a", "b"])
    [1, 0]
    """
    places = {symbol: place for place, symbol in enumerate(symbols)}
    sentence = list(sentence)
    if unknown := [symbol for symbol in sentence if symbol not in places]:
        where = sentence.index(unknown[0]) + 1
        raise ValueError(
            f"{name}: symbol {unknown[0]!r} (number {where}) is not of the {len(places)} that the model knows"
        )
    return [places[symbol] for symbol in sentence]
