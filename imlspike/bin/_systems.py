"""What verbs that score several systems' audio share: naming the systems, recognising what they say."""

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from imlspike.analysis.vocoder_scores import NATURAL, Task
from imlspike.data.audio import read_audio
from imlspike.data.files import atomic_write, read_kaldi, write_kaldi
from imlspike.data.progress import Progress

# From utterance to audio file, and their sampling rate, to utterance to text; calls back for each one done.
Recogniser = Callable[[Mapping[str, str], int, Callable[[], None]], dict[str, str]]


def report_scores(
    verb: str, score: Callable[[], tuple[dict, list]], table: ModuleType, output_dir: Path
) -> int:
    """Score, write scores.json, scores.csv and scores.md, print the table. Returns the exit status.

    `score` gives the content of scores.json and the scores of each utterance; `table` is the module of
    `imlspike.analysis` that knows their form, vocoder_table or voice_table.
    """
    try:
        report, scored = score()
        files = table.write_scores(report, scored, output_dir)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        print(f"{verb}: {error}", file=sys.stderr)
        return 1
    print("\n".join([table.scores_table(report), "", *table.score_notes(report), ""]))
    print(f"scores: {' '.join(map(str, files))}")
    return 0


def add_scoring_options(parser: argparse.ArgumentParser, measures: Sequence[str]) -> None:
    """Options of every verb that scores systems, which may take some of `measures`."""
    add = parser.add_argument
    add(
        "--measures",
        nargs="+",
        default=list(measures),
        metavar="MEASURE",
        help=f"default: all of {' '.join(measures)}",
    )
    add("--no-spaces", action="store_true", help="take spaces out of the texts, as for Mandarin")
    add("--nj", type=int, default=1, help="processes (default: %(default)s)")
    add("--resamples", type=int, default=10000, help="of the bootstrap (default: %(default)s)")
    add("--seed", type=int, default=0, help="seed of the bootstrap (default: %(default)s)")


def name_systems(named: Sequence[str]) -> dict[str, Path]:
    """`NAME=DIR` each, as a dict.

    Raises:
        ValueError: for one of another form, a name that stands twice or that of natural speech.
    """
    systems: dict[str, Path] = {}
    for entry in named:
        name, equals, folder = entry.partition("=")
        if not (name and equals and folder):
            raise ValueError(f"--systems {entry!r}: expected NAME=DIR")
        if name in systems or name == NATURAL:
            raise ValueError(f"--systems: the name {name!r} is taken; give each system its own")
        systems[name] = Path(folder)
    return systems


def speech_to_text(model: str) -> Recogniser:
    """A recogniser that this project trained: what `imlspike.Speech2Text.from_pretrained` opens."""
    from imlspike import Speech2Text

    opened = Speech2Text.from_pretrained(model)

    def recogniser(wavs, sampling_rate, done):
        texts = {}
        for utterance, path in wavs.items():
            wave = read_audio(path, sampling_rate, utterance)
            texts[utterance] = opened(wave, sampling_rate=sampling_rate)
            done()
        return texts

    return recogniser


def command_recogniser(command: str) -> Recogniser:
    """Any program that recognises speech: it reads `{wav_scp}` and writes `{text}`, both Kaldi tables.

    Args:
        command: its command line, in which both stand; run without a shell.

    Raises:
        ValueError: one of them doesn't stand in it. When it runs: it fails, or writes no text, or leaves out
            or adds an utterance.

    >>> command_recogniser("my_asr in.wav")
    Traceback (most recent call last):
    ValueError: --asr-command 'my_asr in.wav': expected {wav_scp} (read) and {text} (written) in it
    """
    if "{wav_scp}" not in command or "{text}" not in command:
        raise ValueError(
            f"--asr-command {command!r}: expected {{wav_scp}} (read) and {{text}} (written) in it"
        )

    def recogniser(wavs, sampling_rate, done):
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
                raise ValueError(f"--asr-command {command!r}: {error}") from None
        odd = sorted(texts.keys() ^ wavs.keys())
        if odd:
            raise ValueError(
                f"--asr-command {command!r}: {odd[0]} stands in only one of wav.scp and what it wrote "
                f"({len(odd)} such); a line for each utterance is expected, if with nothing but its name"
            )
        for _ in wavs:
            done()
        return texts

    return recogniser


def recognise(
    recogniser: Recogniser, tasks: Sequence[Task], sampling_rate: int, folder: Path
) -> dict[str, dict[str, str]]:
    """What a recogniser hears of natural speech and of each system: system to utterance to text.

    The texts are written to `folder`, a Kaldi table for each system.
    """
    names = [NATURAL, *tasks[0].synthetic]
    progress, count = Progress("waveforms recognised"), 0

    def done():
        nonlocal count
        count += 1
        progress(count, len(names) * len(tasks))

    progress(0, len(names) * len(tasks))
    heard = {}
    for name in names:
        wavs = {task.utterance: task.natural if name == NATURAL else task.synthetic[name] for task in tasks}
        heard[name] = recogniser(wavs, sampling_rate, done)
    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in heard.items():
        with atomic_write(folder / name) as out:
            out.writelines(f"{utterance} {text}".rstrip() + "\n" for utterance, text in texts.items())
    return heard


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """Of libraries, "absent" for those that aren't installed.

    >>> versions(["no-such-library"])
    {'no-such-library': 'absent'}
    """
    found = {}
    for library in libraries:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "absent"
    return found
