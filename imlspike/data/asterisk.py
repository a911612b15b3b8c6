"""Prompts of the Asterisk telephone system: five voices, each 24 to 31 min at 16 kHz, in Debian packages.

They are more voices for a vocoder: the packages hold no transcripts, so the sets' texts are empty.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from imlspike.data.audio import AudioError, stream_audio
from imlspike.data.corpus import Prepared, Report, check_left_out, write
from imlspike.data.download import download_package
from imlspike.data.kaldi import Utterance
from imlspike.data.write_audio import write_audio

LANGUAGES = ("en", "es", "fr", "it", "ru")
NOT_SPEECH = ("ascending-2tone", "beep", "beeperr", "descending-2tone", "spy-jingle", "tt-monkeys")
SAMPLING_RATE = 16000
_SOUNDS = Path("usr/share/asterisk/sounds")


def download_asterisk(target_dir: str | os.PathLike, languages: Sequence[str] = LANGUAGES) -> Path:
    """Fetch the packages `asterisk-core-sounds-<language>-g722`, 10 to 13 MB each, and unpack them.

    Returns: `target_dir`, for `prepare_asterisk`.

    Raises:
        imlspike.data.download.DownloadError: one line: what is missing (apt, network, disk) and what to do.
    """
    for language in languages:
        download_package(_package(language), target_dir, megabytes=150)
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

    Args:
        corpus_dir: the folder with the unpacked packages, or Asterisk's own folder `sounds`.
        max_left_out: the share of prompts that may be broken.
        progress: called with (done, total) prompts.

    Raises:
        ValueError: for a language that isn't there, or if more than `max_left_out` of the prompts are broken.
        AudioError: without ffmpeg (extra audio), which decodes G.722.
    """
    corpus_dir, output_dir = Path(corpus_dir).resolve(), Path(output_dir).resolve()
    voices = {language: _voice(corpus_dir, language) for language in languages}
    files = {language: sorted(voice.rglob("*.g722")) for language, voice in voices.items()}
    total, done, result = sum(map(len, files.values())), 0, {}
    for language, voice in voices.items():
        kept, broken, other = [], {}, {}
        wav_dir = output_dir / f"asterisk_{language}" / "wav"
        for file in files[language]:
            inside = file.relative_to(voice).with_suffix("").as_posix()
            name = f"{voice.name}-{inside.replace('/', '_')}"
            if inside in NOT_SPEECH or inside.startswith("silence/"):
                other[name] = "silence, a tone or a jingle"
            else:
                try:
                    kept.append(_decode(name, file, voice.name, wav_dir))
                except AudioError as error:
                    broken[name] = str(error)
            done += 1
            progress(done, total)
        check_left_out({f"asterisk_{language}": (kept, broken)}, voice, max_left_out)
        result[f"asterisk_{language}"] = (kept, broken | other)
    write(output_dir, result)
    return result


def _decode(name: str, file: Path, speaker: str, wav_dir: Path) -> Utterance:
    wav_dir.mkdir(parents=True, exist_ok=True)
    wav = wav_dir / f"{name}.wav"
    written = write_audio(wav, stream_audio(file, SAMPLING_RATE, name), SAMPLING_RATE)
    return Utterance(name, str(wav), "", speaker, written.samples / SAMPLING_RATE)


def _voice(corpus_dir: Path, language: str) -> Path:
    """The folder of a language's voice, as en_US_f_Allison."""
    for sounds in (corpus_dir / _package(language) / _SOUNDS, corpus_dir):
        if found := sorted(path for path in sounds.glob(f"{language}_*") if any(path.rglob("*.g722"))):
            return found[0]
    expected = f"{_package(language)}/{_SOUNDS}/{language}_*/*.g722 or {language}_*/*.g722"
    raise ValueError(f"{corpus_dir}: no prompts in {language}; expected {expected}")


def _package(language: str) -> str:
    return f"asterisk-core-sounds-{language}-g722"
