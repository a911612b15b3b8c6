"""What a recognizer hears in several systems' speech: one that this project trained, or any program."""

import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from imlspike.data.audio import read_audio
from imlspike.data.files import atomic_write, read_kaldi, write_kaldi
from imlspike.data.progress import Progress

# From utterance to audio file, and their sampling rate, to utterance to text; calls back for each one done.
Recognize = Callable[[Mapping[str, str], int, Callable[[], None]], dict[str, str]]


def trained_recognizer(model: str) -> Recognize:
    """A recognizer that this project trained: what `imlspike.Speech2Text.from_pretrained` opens."""
    from imlspike import Speech2Text

    opened = Speech2Text.from_pretrained(model)

    def recognize(wavs, sampling_rate, done):
        texts = {}
        for utterance, path in wavs.items():
            texts[utterance] = opened(read_audio(path, sampling_rate, utterance), sampling_rate=sampling_rate)
            done()
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

    def recognize(wavs, sampling_rate, done):
        with tempfile.TemporaryDirectory() as folder:
            files = {"{wav_scp}": f"{folder}/wav.scp", "{text}": f"{folder}/text"}
            write_kaldi(files["{wav_scp}"], {name: str(Path(wav).absolute()) for name, wav in wavs.items()})
            words = shlex.split(command)
            for mark, file in files.items():
                words = [word.replace(mark, file) for word in words]
            try:
                subprocess.run(words, check=True)
                texts = read_kaldi(files["{text}"])
            except (OSError, subprocess.CalledProcessError) as error:
                raise ValueError(f"{where}: {error}") from None
        if odd := sorted(texts.keys() ^ wavs.keys()):
            raise ValueError(
                f"{where}: {odd[0]} stands in only one of wav.scp and what it wrote ({len(odd)} such); "
                "a line for each utterance is expected, if with nothing but its name"
            )
        for _ in wavs:
            done()
        return texts

    return recognize


def transcribe_systems(
    recognize: Recognize, systems: Mapping[str, Mapping[str, str]], sampling_rate: int, folder: Path
) -> dict[str, dict[str, str]]:
    """What a recognizer hears in each system's audio, also written to `folder`, a Kaldi table for each
    system.

    Args:
        systems: name to utterance to audio file.

    Returns:
        System to utterance to text.
    """
    progress, total, count = Progress("waveforms recognized"), sum(map(len, systems.values())), 0

    def done():
        nonlocal count
        count += 1
        progress(count, total)

    progress(0, total)
    heard = {name: recognize(wavs, sampling_rate, done) for name, wavs in systems.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in heard.items():
        with atomic_write(folder / name) as out:
            out.writelines(f"{utterance} {text}".rstrip() + "\n" for utterance, text in texts.items())
    return heard
