"""The audio of several systems and natural speech of the same sentences, utterance by utterance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imlspike.data.audio import AudioError, audio_format, read_audio
from imlspike.data.kaldi import Utterance
from imlspike.data.labels import read_durations
from imlspike.data.write_audio import FORMATS
from imlspike.data.yaml_file import read_yaml

NATURAL, GRIFFIN_LIM = "natural", "griffin_lim"
SHOWN = {NATURAL: "natural speech", GRIFFIN_LIM: "Griffin-Lim"}


class Task(NamedTuple):
    """One utterance.

    Attributes:
        utterance: its name.
        files: system to audio file, `NATURAL` first.
        durations: system to frames of each symbol, where they are known.
        speaker: who said it, where it matters.
        speakers: speaker to embedding (256,), of other natural recordings than this one.
        speakers_of: checksum of these recordings and their speakers.
    """

    utterance: str
    files: dict[str, str]
    durations: dict[str, list[int]] = {}
    speaker: str = ""
    speakers: dict[str, np.ndarray] = {}
    speakers_of: str = ""


class System(NamedTuple):
    """A system's folder as `imlspike synthesize --data-dir` writes it, or any folder with audio.

    Attributes:
        audio: the folder with its <utterance>.wav or .flac.
        durations: Kaldi table of frames of each symbol; None: not known.
        synthesis: content of synthesis.yaml; None: not there.
    """

    audio: Path
    durations: Path | None = None
    synthesis: dict | None = None

    @classmethod
    def open(cls, folder: Path) -> "System":
        """Audio in the folder or in its `wav`, durations and synthesis.yaml beside `wav`."""
        audio = folder / "wav" if (folder / "wav").is_dir() else folder
        top = folder.parent if folder.name == "wav" else folder
        durations, synthesis = top / "durations", top / "synthesis.yaml"
        about = read_yaml(synthesis) if synthesis.is_file() else None
        return cls(audio, durations if durations.is_file() else None, about)


def find_pairs(
    utterances: Sequence[Utterance],
    systems: Mapping[str, Path],
    sampling_rate: int,
    hop_length: int | None = None,
) -> tuple[list[Task], dict[str, list[str]]]:
    """The files to compare, checked before any work is done: a task for each utterance, and for each system
    (name to folder of audio) the files that belong to no utterance.

    Lengths may differ by `hop_length` samples; None: they are free. ValueError: no utterances; a folder that
    isn't there or lacks an utterance; a file that can't be read, has another sampling rate, several channels,
    or another length. The utterance is named.
    """
    if not utterances:
        raise ValueError("the data directory holds no utterance; there is nothing to score")
    found = {name: _sounds(name, Path(folder)) for name, folder in systems.items()}
    names = {utterance.id for utterance in utterances}
    for name, files in found.items():
        if absent := sorted(names - files.keys()):
            raise ValueError(
                f"{systems[name]}: no {absent[0]}.wav or .flac ({len(absent)} of {len(names)} "
                f"utterances are missing); let {name!r} synthesize them, or score a smaller set"
            )
    tasks = []
    for utterance in utterances:
        files = {NATURAL: utterance.wav} | {name: str(own[utterance.id]) for name, own in found.items()}
        lengths = {n: _length(path, f"{utterance.id}, {n}", sampling_rate) for n, path in files.items()}
        for name, length in lengths.items():
            if hop_length is not None and abs(lengths[NATURAL] - length) > hop_length:
                raise AudioError(
                    f"{utterance.id}: {name} has {length} samples, natural speech {lengths[NATURAL]}; "
                    f"copy-synthesis may differ by a hop ({hop_length}) at most. Was it made from another "
                    "recording?"
                )
        tasks.append(Task(utterance.id, files))
    return tasks, {name: sorted(files.keys() - names) for name, files in found.items()}


def _sounds(name: str, folder: Path) -> dict[str, Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    if sounds := {path.stem: path for path in files if path.suffix.lower() in FORMATS}:
        return sounds
    raise ValueError(f"{folder}: no .wav or .flac there; it should hold the audio of the system {name!r}")


def _length(path: str, who: str, sampling_rate: int) -> int:
    form = audio_format(path, who)
    if (form.sampling_rate, form.channels) != (sampling_rate, 1):
        raise AudioError(
            f"{who} ({path}): {form.sampling_rate} Hz with {form.channels} channel(s); all systems are "
            f"scored at {sampling_rate} Hz mono, the model's rate: synthesize it again, or name its own model"
        )
    known = form.seconds is not None
    return round(form.seconds * sampling_rate) if known else len(read_audio(path, sampling_rate, who))


def add_durations(tasks: Sequence[Task], natural: Path, systems: Mapping[str, System]) -> list[Task]:
    """The tasks with the durations of natural speech (a Kaldi table) and of the systems that have them.

    Raises:
        ValueError: an utterance that a table lacks, or another number of symbols than a system has; file and
            utterance are named.
    """
    files = {NATURAL: natural} | {name: s.durations for name, s in systems.items() if s.durations}
    tables, timed = {name: read_durations(file) for name, file in files.items()}, []
    for task in tasks:
        for name, table in tables.items():
            if task.utterance not in table:
                raise ValueError(f"{files[name]}: no line for {task.utterance}; made for another set?")
            own, other = len(table[task.utterance]), len(tables[NATURAL][task.utterance])
            if own != other:
                raise ValueError(
                    f"{task.utterance}: {own} symbols in {files[name]}, but {other} in {natural}; both must "
                    "be of the same text"
                )
        timed.append(task._replace(durations={name: table[task.utterance] for name, table in tables.items()}))
    return timed
