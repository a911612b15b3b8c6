"""Prompts of the Asterisk telephone system: five voices, each 24 to 31 min at 16 kHz, in Debian packages.

They are more voices for a vocoder: the packages hold no transcripts, so the sets' texts are empty.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from imlspike.data.corpus import Prepared, check_left_out
from imlspike.data.debian import download_package
from imlspike.data.format import write_16_bit
from imlspike.data.g722 import SAMPLING_RATE, decode_g722
from imlspike.data.kaldi import Utterance, write_data_dir

LANGUAGES = ("en", "es", "fr", "it", "ru")
NOT_SPEECH = ("ascending-2tone", "beep", "beeperr", "descending-2tone", "spy-jingle", "tt-monkeys")
_NOT_SPEECH = "silence, a tone or a jingle"
_SOUNDS = Path("usr/share/asterisk/sounds")
_AT_ONCE = 64  # recordings decoded side by side, between two reports of progress


def download_asterisk(target_dir: str | os.PathLike, languages: Sequence[str] = LANGUAGES) -> Path:
    """Fetch the packages `asterisk-core-sounds-<language>-g722`, 10 to 13 MB each, and unpack them.

    No root is needed and the system's package lists aren't touched. What is there isn't fetched again.

    Returns: `target_dir`, for `prepare_asterisk`.

    Raises:
        ValueError: for a language that there isn't.
        imlspike.data.debian.DownloadError: one line: what is missing (apt, network, disk) and what to do.
    """
    for language in _known(languages):
        download_package(_package(language), target_dir, megabytes=150)
    return Path(target_dir)


def prepare_asterisk(
    corpus_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    max_left_out: float = 0.05,
    progress: Callable[[int, int], None] = lambda done, total: None,
    languages: Sequence[str] = LANGUAGES,
) -> Prepared:
    """Decode the prompts and write a Kaldi directory `asterisk_<language>` for each language.

    The recordings become 16-bit WAV files in `asterisk_<language>/wav`. Silence, tones and jingles
    (`silence/` and `NOT_SPEECH`) and empty files are left out, each with its reason in `excluded.tsv`.

    Args:
        corpus_dir: the folder with the unpacked packages, or Asterisk's own folder `sounds`.
        output_dir: where the directories go.
        max_left_out: the share of prompts that may be broken.
        progress: called with (done, total) prompts.
        languages: some of `LANGUAGES`.

    Returns: set -> (utterances kept, utterance -> reason for those left out).

    Raises:
        ValueError: for a language that there isn't or that isn't there, or if more than `max_left_out` of the
            prompts are broken.
    """
    corpus_dir, output_dir = Path(corpus_dir).resolve(), Path(output_dir).resolve()
    voices = {language: _voice(corpus_dir, language) for language in _known(languages)}
    sorted_out = {f"asterisk_{language}": _sort_out(voice) for language, voice in voices.items()}
    total, done, result = sum(len(speech) for speech, _ in sorted_out.values()), 0, {}
    for (name, (speech, excluded)), voice in zip(sorted_out.items(), voices.values(), strict=True):
        broken = {prompt: reason for prompt, reason in excluded.items() if reason != _NOT_SPEECH}
        check_left_out({name: (list(speech), broken)}, voice, max_left_out)
        kept: list[Utterance] = []
        by_length = sorted(speech, key=lambda prompt: speech[prompt].stat().st_size)
        for first in range(0, len(by_length), _AT_ONCE):  # alike ones side by side
            some = {prompt: speech[prompt] for prompt in by_length[first : first + _AT_ONCE]}
            kept += _decode(some, voice.name, output_dir / name / "wav")
            done += len(some)
            progress(done, total)
        result[name] = (kept, excluded)
        write_data_dir(output_dir / name, kept, excluded)
    return result


def _sort_out(voice: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The files of a voice by prompt, and prompt -> reason for those left out."""
    speech, excluded = {}, {}
    for file in sorted(voice.rglob("*.g722")):
        inside = file.relative_to(voice).with_suffix("").as_posix()
        prompt = f"{voice.name}-{inside.replace('/', '_')}"
        if inside in NOT_SPEECH or inside.startswith("silence/"):
            excluded[prompt] = _NOT_SPEECH
        elif not file.stat().st_size:
            excluded[prompt] = f"{file}: the file is empty (0 bytes)"
        else:
            speech[prompt] = file
    return speech, excluded


def _decode(files: dict[str, Path], speaker: str, wav_dir: Path) -> list[Utterance]:
    """Utterances with their WAV files, which are written here."""
    wav_dir.mkdir(parents=True, exist_ok=True)
    kept = []
    decoded = decode_g722([file.read_bytes() for file in files.values()])
    for (name, file), samples in zip(files.items(), decoded, strict=True):
        wav = wav_dir / f"{name}.wav"
        write_16_bit(wav, samples / 32768, SAMPLING_RATE, file.name)
        kept.append(Utterance(name, str(wav), "", speaker, len(samples) / SAMPLING_RATE))
    return kept


def _known(languages: Sequence[str]) -> list[str]:
    for language in languages:
        if language not in LANGUAGES:
            raise ValueError(f"there are no prompts in {language!r}; expected some of {', '.join(LANGUAGES)}")
    return list(languages)


def _voice(corpus_dir: Path, language: str) -> Path:
    """The folder of a language's voice, as en_US_f_Allison."""
    for sounds in (corpus_dir / _package(language) / _SOUNDS, corpus_dir):
        if found := sorted(path for path in sounds.glob(f"{language}_*") if any(path.rglob("*.g722"))):
            return found[0]
    expected = f"{_package(language)}/{_SOUNDS}/{language}_*/*.g722 or {language}_*/*.g722"
    raise ValueError(f"{corpus_dir}: no prompts in {language}; expected {expected}")


def _package(language: str) -> str:
    return f"asterisk-core-sounds-{language}-g722"
