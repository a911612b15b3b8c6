"""Text front ends for speech synthesis: from a sentence to the symbols that a voice speaks.

A front end is a function of (text, name) that returns a list of symbols; `name` is the utterance's.
Punctuation marks are symbols too, heard as pauses and melody. What a front end can't speak is an error, which
names all such characters of a text: dropped in silence, they are a voice that skips words.
"""

import unicodedata
from collections.abc import Callable, Iterable
from functools import partial

from imlspike.data.keys import check_choice
from imlspike.text.english import SYMBOLS as ENGLISH_SYMBOLS
from imlspike.text.english import English
from imlspike.text.espeak import espeak
from imlspike.text.mandarin import SYMBOLS as MANDARIN_SYMBOLS
from imlspike.text.mandarin import mandarin, pinyin
from imlspike.text.punctuation import NO_MARK, UnspeakableError, not_empty, plain_text, speak
from imlspike.text.russian import SYMBOLS as RUSSIAN_SYMBOLS
from imlspike.text.russian import russian

FrontEnd = Callable[[str, str], list[str]]
ON_UNKNOWN = ("error", "skip")


def characters(text: str, name: str = "text") -> list[str]:
    """Lower-case letters of any script, blanks between words, apostrophes and punctuation marks.

    UnspeakableError for characters that are no letters (a digit, a currency sign), ValueError for nothing to
    speak.

    >>> characters("Über’s – Ja!")
    ['ü', 'b', 'e', 'r', "'", 's', ' ', '-', ' ', 'j', 'a', '!']
    """

    def symbol(character: str) -> list[str]:
        if character not in " '" and unicodedata.category(character)[0] not in "LM":
            raise UnspeakableError(name, character, text, "letters")
        return [character]

    return speak(plain_text(text).lower(), NO_MARK, symbol, name, text, "letters")


def labels(text: str, name: str = "text") -> list[str]:
    """Split a text that is symbols already, as `imlspike durations --symbols-dir` writes it."""
    return not_empty(text.split(), name, text)


# What makes each front end, and all the symbols that it may give (None: those of the corpus).
FRONT_ENDS: dict[str, tuple[Callable[[], FrontEnd], tuple[str, ...] | None]] = {
    "english": (English, ENGLISH_SYMBOLS),
    "mandarin": (lambda: mandarin, MANDARIN_SYMBOLS),
    "pinyin": (lambda: pinyin, MANDARIN_SYMBOLS),
    "russian": (lambda: russian, RUSSIAN_SYMBOLS),
    "russian:marked": (lambda: partial(russian, marked=True), RUSSIAN_SYMBOLS),
    "characters": (lambda: characters, None),
    "labels": (lambda: labels, None),
}


def languages_of(name: str) -> tuple[str, ...]:
    """The languages of a front end that has several; none for one of one language.

    >>> languages_of("espeak:nl+cs"), languages_of("espeak:nl")
    (('nl', 'cs'), ())
    """
    kind, _, names = name.partition(":")
    languages = tuple(names.split("+")) if kind == "espeak" else ()
    return languages if len(languages) > 1 else ()


def front_end(name: str, on_unknown: str = "error", language: str | None = None) -> FrontEnd:
    """The front end of this name: one of `FRONT_ENDS`, or `espeak:<language>` (as espeak:nl).

    One of several languages (espeak:nl+cs) is that of the `language`, one of `languages_of(name)`. It raises
    UnspeakableError for what it can't speak, or with `on_unknown="skip"` speaks the rest.
    ValueError if there is none (the nearest is named); ImportError without the library that it needs.

    >>> front_end("characters")("Yes, no.", "a1")
    ['y', 'e', 's', ',', ' ', 'n', 'o', '.']
    """
    check_choice("on_unknown", on_unknown, ON_UNKNOWN)
    if languages := languages_of(name):
        check_choice(f"the language of {name}", language, languages)
        speaker = espeak(language)
    elif language is not None:
        raise ValueError(f"front end {name} has one language: give none, not {language!r}")
    elif name.startswith("espeak:"):
        speaker = espeak(name.removeprefix("espeak:"))
    else:
        check_choice("front end", name, [*FRONT_ENDS, "espeak:<language>"])
        speaker = FRONT_ENDS[name][0]()
    return speaker if on_unknown == "error" else lambda text, name="text": speak_rest(speaker, text, name)[0]


def speak_rest(speaker: FrontEnd, text: str, name: str = "text") -> tuple[list[str], tuple[str, ...]]:
    """The symbols of a text without the characters that its front end can't speak, and these."""
    try:
        return speaker(text, name), ()
    except UnspeakableError as error:
        symbols, skipped = speak_rest(speaker, error.rest, name)
        return symbols, (*error.places, *skipped)


def symbols_of(name: str, sentences: Iterable[Iterable[str]] = ()) -> list[str]:
    """All symbols of a front end, in a fixed order; of one that takes any character, those in `sentences`.

    >>> symbols_of("characters", [["b", "a"], ["a", "."]])
    ['.', 'a', 'b']
    """
    symbols = FRONT_ENDS.get(name, (None, None))[1]
    return list(symbols or sorted({symbol for sentence in sentences for symbol in sentence}))


def to_numbers(sentence: Iterable[str], symbols: Iterable[str], name: str = "text") -> list[int]:
    """The place of each symbol in the list that a model was trained with; ValueError, which names all others.

    >>> to_numbers(["b", "a"], ["a", "b"])
    [1, 0]
    """
    places = {symbol: place for place, symbol in enumerate(symbols)}
    sentence = list(sentence)
    if others := [f"{s!r} (number {n})" for n, s in enumerate(sentence, start=1) if s not in places]:
        raise ValueError(f"{name}: symbol {', '.join(others)}: not of the {len(places)} that the model knows")
    return [places[symbol] for symbol in sentence]
