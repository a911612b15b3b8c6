"""Prompts of the Asterisk telephone system: five voices, each 24 to 31 min at 16 kHz, in Debian packages.

They are more voices for a vocoder: the packages hold no transcripts, so the sets' texts are empty.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from imlspike.data.audio import AudioError, stream_audio
from imlspike.data.corpus import Prepared, Report, check_left_out, write
from imlspike.data.download import download_package
from imlspike.data.files import make_folder
from imlspike.data.kaldi import Utterance
from imlspike.data.write_audio import write_audio

LANGUAGES = ("en", "es", "fr", "it", "ru")
NOT_SPEECH = ("ascending-2tone", "beep", "beeperr", "descending-2tone", "spy-jingle", "tt-monkeys")
SAMPLING_RATE = 16000
_PACKAGE = "asterisk-core-sounds-{}-g722"


def download_asterisk(target_dir: str | os.PathLike, languages: Sequence[str] = LANGUAGES) -> Path:
    """Fetch and unpack the packages of the languages, 10 to 13 MB each; returns `target_dir`."""
    for language in languages:
        download_package(_PACKAGE.format(language), target_dir, megabytes=150)
    return Path(target_dir)


def prepare_asterisk(
    corpus_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    max_left_out: float = 0.05,
    progress: Report = lambda done, total: None,
    languages: Sequence[str] = LANGUAGES,
) -> Prepared:
    """Decode the prompts and write a Kaldi directory `asterisk_<language>` for each language.

    The recordings become 16-bit WAV files in `asterisk_<language>/wav`. Silence, tones and jingles
    (`silence/` and `NOT_SPEECH`) and broken files are left out, each with its reason in `excluded.tsv`.

    `corpus_dir` has the unpacked packages, or is Asterisk's own folder `sounds`. ValueError for a language
    that isn't there, or if more than the share `max_left_out` of the prompts is broken.
    """
    output_dir, result = Path(output_dir).resolve(), {}
    voices = {language: _voice(Path(corpus_dir).resolve(), language) for language in languages}
    prompts = [(lang, file) for lang, voice in voices.items() for file in sorted(voice.rglob("*.g722"))]
    broken: dict[str, str] = {}
    for done, (language, file) in enumerate(prompts, start=1):
        voice, set_ = voices[language], f"asterisk_{language}"
        kept, left_out = result.setdefault(set_, ([], {}))
        inside = file.relative_to(voice).with_suffix("").as_posix()
        name = f"{voice.name}-{inside.replace('/', '_')}"
        wav = output_dir / set_ / "wav" / f"{name}.wav"
        if inside in NOT_SPEECH or inside.startswith("silence/"):
            left_out[name] = "silence, a tone or a jingle"
        else:
            make_folder(wav.parent)
            try:
                written = write_audio(wav, stream_audio(file, SAMPLING_RATE, name), SAMPLING_RATE)
                kept.append(Utterance(name, str(wav), "", voice.name, written.samples / SAMPLING_RATE))
            except AudioError as error:
                broken[name] = left_out[name] = str(error)
        progress(done, len(prompts))
    for set_, (kept, left_out) in result.items():
        faults = {name: reason for name, reason in left_out.items() if name in broken}
        check_left_out({set_: (kept, faults)}, corpus_dir, max_left_out)
    write(output_dir, result)
    return result


def _voice(corpus_dir: Path, language: str) -> Path:
    """The folder of a language's voice, as en_US_f_Allison."""
    inside = f"{_PACKAGE.format(language)}/usr/share/asterisk/sounds"
    for sounds in (corpus_dir / inside, corpus_dir):
        if found := sorted(path for path in sounds.glob(f"{language}_*") if any(path.rglob("*.g722"))):
            return found[0]
    expected = f"{inside}/{language}_*/*.g722 or {language}_*/*.g722"
    raise ValueError(f"{corpus_dir}: no prompts in {language}; expected {expected}")
