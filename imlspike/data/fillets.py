"""Dialogue of the game Fish Fillets NG: two actors a language are a small and a big fish.

What `script/<level>/dialogs_<language>.lua` has as `dialogId("<id>", "<font>", "<English>")` and, behind it,
`dialogStr("<text>")` is said in `sound/<level>/<language>/<id>.ogg`; the font tells who speaks. Sounds may
lie in other folders than scripts, as those of Debian's packages do.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from imlspike.data.corpus import Transcript
from imlspike.data.files import read_text

FOLDERS = ("fillets-ng", "games/fillets-ng", "usr/share/games/fillets-ng")
FISH = {"font_small": "small", "font_big": "big"}
_STRING = r'"((?:[^"\\]|\\.)*)"'
_THREE = r"\s*,\s*".join([_STRING] * 3)
_DIALOG = re.compile(rf"^\s*dialogId\(\s*{_THREE}\s*\)(?:\s*dialogStr\(\s*{_STRING}\s*\))?", re.MULTILINE)


def find_utterance(file: Path) -> str:
    """The utterance of a recording: the same names come in several levels, and in each language."""
    return f"{file.parent.name}_{file.parents[1].name}_{file.stem}"


def read_dialogs(top: Path, languages: Sequence[str]) -> Iterator[Transcript]:
    """Lines of the two fish: speakers `small` and `big`, of several languages `nl-small`, ..., and then
    a table `tagged` whose texts begin with their language: `[nl] Wat nu?`. A table `utt2lang` names it.

    What other characters say, where it was recorded (in Czech), is the set `others`. Levels of which nothing
    was recorded are left alone. One of 24 texts is test, one valid, by its checksum: no text is in two sets.
    """
    for language in languages:
        files = [*top.glob(f"**/sound/*/{language}/*.ogg")]
        sounds, levels = {find_utterance(file) for file in files}, {file.parents[1].name for file in files}
        for script in sorted(top.glob(f"**/script/*/dialogs_{language}.lua")):
            for name, font, _, text in _DIALOG.findall(read_text(script)):
                name = f"{language}_{script.parent.name}_{name}"
                fish = FISH.get(font)
                if script.parent.name not in levels or not (fish or name in sounds):
                    continue
                text = " ".join(re.sub(r"\\(.)", lambda found: found[1].replace("n", " "), text).split())
                who = fish or font.removeprefix("font_") or "nobody"
                speaker = who if len(languages) == 1 else f"{language}-{who}"
                more = {"utt2lang": language}
                more |= {"tagged": f"[{language}] {text}"} if len(languages) > 1 else {}
                yield Transcript(name, _set_of(text) if fish else "others", text, speaker, more=more)


def _set_of(text: str) -> str:
    """The set of a text, whatever its case and marks.

    >>> _set_of("Wat nu?") == _set_of("wat nu")
    True
    """
    spoken = re.sub(r"[\W_]", "", text.lower())
    place = hashlib.md5(spoken.encode(), usedforsecurity=False).digest()[0] % 24
    return {0: "test", 12: "valid"}.get(place, "train")
