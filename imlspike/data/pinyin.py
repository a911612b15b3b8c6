"""Pinyin that a Mandarin corpus gives beside its text: checked, with the text's punctuation, as a table."""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from imlspike.data.corpus import Prepared
from imlspike.data.files import write_kaldi
from imlspike.data.kaldi import write_data_dir

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff〇]")
_SYLLABLE = re.compile("[a-zêü:]+[0-6]?")


def check_syllables(syllables: Sequence[str]) -> None:
    """See that each is lower-case letters and a tone, as `ni3`; letters that are spelled out aren't (`IY1`).

    Raises:
        ValueError: naming the first that isn't.

    >>> check_syllables(["ni3", "IY1"])
    Traceback (most recent call last):
    ValueError: 'IY1' in its pinyin is no syllable with a tone, as ni3
    """
    for syllable in syllables:
        if not _SYLLABLE.fullmatch(syllable):
            raise ValueError(f"{syllable!r} in its pinyin is no syllable with a tone, as ni3")


def with_punctuation(text: str, syllables: Sequence[str]) -> str:
    """The syllables of a text with its punctuation between them, each a word of its own.

    Each Chinese character is one syllable, but 儿 may be the r at the end of the one before (nar3: 哪儿).

    Raises:
        ValueError: for a character that is neither Chinese nor punctuation, for more or fewer syllables than
            the text has, or for what `check_syllables` refuses.

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


def leave_out(result: Prepared, reasons: Mapping[str, str]) -> Prepared:
    """The result of `imlspike.data.corpus.join` without the utterances named, which join those left out."""
    return {
        name: (
            [utterance for utterance in kept if utterance.id not in reasons],
            excluded | {utterance.id: reasons[utterance.id] for utterance in kept if utterance.id in reasons},
        )
        for name, (kept, excluded) in result.items()
    }


def write_with_pinyin(output_dir: str | os.PathLike, result: Prepared, pinyin: Mapping[str, str]) -> None:
    """Write the data directory of each set, with a further table `pinyin` of the same utterances.

    Args:
        output_dir: where the directories go.
        result: set -> (utterances kept, utterance -> reason for those left out).
        pinyin: utterance -> syllables (and punctuation) with blanks between.
    """
    for name, (kept, excluded) in result.items():
        write_data_dir(Path(output_dir) / name, kept, excluded)
        write_kaldi(Path(output_dir) / name / "pinyin", {u.id: pinyin[u.id] for u in kept})
