"""espeak-ng's phones of a hundred languages, through phonemizer and the library in espeakng-loader."""

import re
import unicodedata
from collections.abc import Callable
from functools import cache, partial
from threading import Lock

from imlspike.text.punctuation import UnspeakableError, plain_text, speak
from imlspike.text.words import words_of

# A hyphen that joins two letters isn't heard; a mark between digits is the engine's: 3,14 and 12:30.
_CLAUSE = re.compile(r"(?:[^,.!?;:()\"-]|(?<=\w)-(?=\w)|(?<=\d)[.,:](?=\d))+")


@cache
def espeak_backend(language: str):
    """phonemizer's backend of a language, with stress marks; ImportError without the extra phonemes."""
    try:
        import espeakng_loader
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError as error:
        raise ImportError(f"{error}: espeak-ng's phones need pip install 'imlspike[phonemes]'") from None
    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    if language not in EspeakBackend.supported_languages():
        known = ", ".join(sorted(EspeakBackend.supported_languages()))
        raise ValueError(f"espeak-ng has no language {language!r}; expected one of {known}")
    backend = EspeakBackend(language, with_stress=True, language_switch="remove-flags")
    phonemize, one_at_a_time = backend.phonemize, Lock()

    def locked(*args, **options):
        with one_at_a_time:  # the engine has one state, whoever calls
            return phonemize(*args, **options)

    backend.phonemize = locked
    return backend


def espeak(language: str) -> Callable[[str, str], list[str]]:
    """Make the front end of a language, as `ru`, `nl`, `cs` or `en-us`.

    It gives phones (IPA), a stressed vowel with its mark (ˈe), and punctuation marks. Numbers, dates, units,
    abbreviations are put in words by `imlspike.text.words` in English, Russian, Mandarin, Dutch, Czech; in
    others by espeak-ng, as are signs that it has a name for (%).
    UnspeakableError for characters that it has no sound for, or for which it says that they are Chinese;
    ValueError for a text with nothing to speak. Its own stress is taken in Russian, not the text's.
    """
    code = language.split("-")[0]
    plain = words_of(code)
    words = {
        "en": lambda text: re.sub(r"\bay\b", "eigh", plain(text)),
        "ru": lambda text: re.sub("[+\u0301]", "", plain(text)),  # without marks of stress
    }.get(code, plain)
    return partial(_speak, espeak_backend(language), words, code in ("cmn", "yue", "ja", "hak"))


@cache
def _is_spoken(backend, chinese: bool, character: str) -> bool:
    category, script = unicodedata.category(character), unicodedata.name(character, "").split(" ")[0]
    if not chinese and script in ("CJK", "HIRAGANA", "KATAKANA"):
        return False  # "Chinese letter"
    if character in " '-.,:":  # marks stand between digits
        return True
    if category[0] in "LN" or category in ("Sc", "Sm", "Po") or character in "°©®™":
        return bool(backend.phonemize([character], strip=True)[0])
    return category[0] == "M"


def _speak(backend, words, chinese: bool, text: str, name: str = "text") -> list[str]:
    from phonemizer.separator import Separator

    separator = Separator(phone=" ", word="|", syllable="")

    def phones(clause: str) -> list[str]:
        if unknown := [character for character in clause if not _is_spoken(backend, chinese, character)]:
            raise UnspeakableError(name, unknown, text, "letters, digits")
        if not clause.strip(" '"):
            return []
        return backend.phonemize([clause.strip()], separator, strip=True)[0].replace("|", " ").split()

    plain = words(plain_text(text)).replace("·", " ")
    return speak(plain, _CLAUSE, phones, name, text, "letters, digits")
