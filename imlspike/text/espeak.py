"""espeak-ng's phones of a hundred languages, through phonemizer and the library in espeakng-loader."""

import re
import unicodedata
from collections.abc import Callable
from functools import cache, partial

from imlspike.text.punctuation import plain_text, speak, unspeakable

_CLAUSE = re.compile(r"(?:[^,.!?;:()\"-]|(?<=\w)-(?=\w))+")  # a hyphen that joins two letters isn't heard


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
    return EspeakBackend(language, with_stress=True, language_switch="remove-flags")


def espeak(language: str) -> Callable[[str, str], list[str]]:
    """Make the front end of a language, as `ru`, `nl`, `cs` or `en-us`.

    It gives phones (IPA), a stressed vowel with its mark (ˈe), and punctuation marks. Numbers are spoken.
    ValueError for a character that is no letter, digit or punctuation, or a text with nothing to speak.
    """
    return partial(_speak, espeak_backend(language))


def _speak(backend, text: str, name: str = "text") -> list[str]:
    from phonemizer.separator import Separator

    separator = Separator(phone=" ", word="|", syllable="")

    def phones(clause: str) -> list[str]:
        for character in clause:
            if character not in " '-" and unicodedata.category(character)[0] not in "LMN":
                raise unspeakable(name, character, text, "letters, digits")
        if not clause.strip(" '"):
            return []
        return backend.phonemize([clause.strip()], separator, strip=True)[0].replace("|", " ").split()

    return speak(plain_text(text), _CLAUSE, phones, name, text, "letters, digits")
