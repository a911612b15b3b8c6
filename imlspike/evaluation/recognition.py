"""Recognizers that hear several systems' speech: one that this project trained, or any program."""

import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from imlspike.data.audio import read_audio
from imlspike.data.files import read_kaldi, write_kaldi
from imlspike.data.progress import Progress
from imlspike.evaluation.tables import write_files

# From utterance to audio file, and their sampling rate, to utterance to text.
Recognize = Callable[[Mapping[str, str], int], dict[str, str]]


def trained_recognizer(model: str) -> Recognize:
    """A recognizer that this project trained: what `imlspike.Speech2Text.from_pretrained` opens."""
    from imlspike import Speech2Text

    opened = Speech2Text.from_pretrained(model)

    def recognize(wavs: Mapping[str, str], sampling_rate: int) -> dict[str, str]:
        texts, progress = {}, Progress("waveforms recognized")
        for utterance, path in wavs.items():
            texts[utterance] = opened(read_audio(path, sampling_rate, utterance), sampling_rate=sampling_rate)
            progress(len(texts), len(wavs))
        return texts

    return recognize


def command_recognizer(command: str) -> Recognize:
    """Any program that recognizes speech: it reads `{wav_scp}` and writes `{text}`, both Kaldi tables.

    Args:
        command: its command line, in which both stand; run without a shell.

    Raises:
        ValueError: one of them doesn't stand in it. When it runs: it fails, or writes no text, or leaves out
            or adds an utterance.
    """
    where = f"--asr-command {command!r}"
    if "{wav_scp}" not in command or "{text}" not in command:
        raise ValueError(f"{where}: expected {{wav_scp}} (read) and {{text}} (written) in it")

    def recognize(wavs: Mapping[str, str], sampling_rate: int) -> dict[str, str]:
        with tempfile.TemporaryDirectory() as folder:
            sounds, text = f"{folder}/wav.scp", f"{folder}/text"
            write_kaldi(sounds, {name: str(Path(wav).absolute()) for name, wav in wavs.items()})
            words = shlex.split(command)
            words = [word.replace("{wav_scp}", sounds).replace("{text}", text) for word in words]
            try:
                subprocess.run(words, check=True)
                texts = read_kaldi(text)
            except (OSError, subprocess.CalledProcessError) as error:
                raise ValueError(f"{where}: {error}") from None
        if odd := sorted(texts.keys() ^ wavs.keys()):
            raise ValueError(
                f"{where}: {odd[0]} stands in only one of wav.scp and what it wrote ({len(odd)} such); "
                "a line for each utterance is expected, if with nothing but its name"
            )
        return texts

    return recognize


def transcribe_systems(
    recognize: Recognize, systems: Mapping[str, Mapping[str, str]], sampling_rate: int, folder: Path
) -> dict[str, dict[str, str]]:
    """System to utterance to the text that a recognizer hears, also a Kaldi table a system in `folder`.

    Args:
        systems: name to utterance to audio file.
    """
    heard = {}
    for name, wavs in systems.items():
        heard[name] = recognize(wavs, sampling_rate)
        lines = (f"{utterance} {text}".rstrip() + "\n" for utterance, text in heard[name].items())
        write_files({folder / name: "".join(lines)})
    return heard


def read_languages(data_dir: Path, language: str | None, utterances: Iterable[str]) -> dict[str, str]:
    """Utterance to the code of its language: the one named, or that of the table utt2lang; else empty.

    ValueError: an utterance doesn't stand in the table.
    """
    table = Path(data_dir) / "utt2lang"
    if language or not table.is_file():
        return dict.fromkeys(utterances, language) if language else {}
    known = read_kaldi(table)
    if absent := [name for name in utterances if name not in known]:
        raise ValueError(f"{table}: no line for {absent[0]} ({len(absent)} such); or name --language")
    return {name: known[name] for name in utterances}
