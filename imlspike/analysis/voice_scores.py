"""Scores of voices: what each system says of the same sentences, against natural speech of them.

As with vocoders (`imlspike.analysis.vocoder_scores`), each measure is taken for every utterance and averaged,
with a bootstrap interval, and natural speech scored against itself is in the table. Lengths are free here.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imlspike.analysis.vocoder_scores import NATURAL, Scored, Task, error_rates, take
from imlspike.analysis.voice_measures import F0_RANGE, MEASURES, Speech
from imlspike.data.audio import read_audio
from imlspike.data.labels import read_durations
from imlspike.data.yaml_file import read_yaml

RATES = ("cer", "wer")


@dataclass(frozen=True)
class Settings:
    """What all utterances are scored with.

    Attributes:
        sampling_rate: Hz.
        measures: keys of `imlspike.analysis.voice_measures.MEASURES`.
        f0_range: Hz.
        frame_seconds: a frame of the durations.
    """

    sampling_rate: int
    measures: tuple[str, ...]
    f0_range: tuple[float, float] = F0_RANGE
    frame_seconds: float = 0.016


@dataclass(frozen=True)
class VoiceTask:
    """An utterance's files (`task`), and system to frames of each symbol, where they are known."""

    task: Task
    durations: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """A system's folder as `imlspike synthesize --data-dir` writes it, or any folder with audio.

    Attributes:
        audio: the folder with its <utterance>.wav.
        durations: Kaldi table of frames of each symbol; None: not known.
        synthesis: what synthesis.yaml holds; None: not there.
    """

    audio: Path
    durations: Path | None
    synthesis: dict | None


def open_system(folder: Path) -> System:
    """What lies in a system's folder: audio in it or in its `wav`, durations and synthesis.yaml beside `wav`.

    >>> open_system(Path("no/such/folder"))
    System(audio=PosixPath('no/such/folder'), durations=None, synthesis=None)
    """
    top = folder.parent if folder.name == "wav" else folder
    audio = folder / "wav" if (folder / "wav").is_dir() else folder
    durations, synthesis = top / "durations", top / "synthesis.yaml"
    return System(
        audio,
        durations if durations.is_file() else None,
        read_yaml(synthesis) if synthesis.is_file() else None,
    )


def add_durations(
    tasks: Sequence[Task], natural: Path | None, systems: Mapping[str, System]
) -> list[VoiceTask]:
    """The tasks with the durations of natural speech and of the systems that have them.

    Args:
        natural: Kaldi table of frames of each symbol of the natural speech; None: durations aren't compared.

    Raises:
        ValueError: an utterance that a table lacks, or another number of symbols than a system has; file and
            utterance are named.
    """
    if natural is None:
        return [VoiceTask(task) for task in tasks]
    tables = {NATURAL: read_durations(natural)}
    files = {NATURAL: natural}
    for name, system in systems.items():
        if system.durations:
            tables[name], files[name] = read_durations(system.durations), system.durations
    found = []
    for task in tasks:
        for name, table in tables.items():
            if task.utterance not in table:
                raise ValueError(f"{files[name]}: no line for {task.utterance}; made for another set?")
            if len(table[task.utterance]) != len(tables[NATURAL][task.utterance]):
                raise ValueError(
                    f"{task.utterance}: {len(table[task.utterance])} symbols in {files[name]}, but "
                    f"{len(tables[NATURAL][task.utterance])} in {natural}; both must be of the same text"
                )
        found.append(VoiceTask(task, {name: table[task.utterance] for name, table in tables.items()}))
    return found


def score_utterance(settings: Settings, task: VoiceTask) -> Scored:
    """All measures of all systems on one utterance; durations where both sides have them.

    Raises:
        ValueError: natural durations that don't add up to the recording; as `read_audio`.
    """
    rate, name = settings.sampling_rate, task.task.utterance
    sounds = {}
    for system, path in {NATURAL: task.task.natural, **task.task.synthetic}.items():
        frames = task.durations.get(system)
        seconds = None if frames is None else np.array(frames) * settings.frame_seconds
        wave = read_audio(path, rate, f"{name}, {system}")
        sounds[system] = Speech(wave, rate, seconds, settings.f0_range)
    natural = sounds[NATURAL]
    length = len(natural.samples) / rate
    if natural.durations is not None and abs(natural.durations.sum() - length) > 2 * settings.frame_seconds:
        raise ValueError(
            f"{name}: its natural durations add up to {natural.durations.sum():.3f} s, its recording has "
            f"{length:.3f} s; is a frame {1000 * settings.frame_seconds:g} ms (--hop-length)?"
        )
    functions = {key: MEASURES[key].function for key in settings.measures}
    scored = take(functions, name, sounds, length)
    for system, sound in sounds.items():
        if sound.durations is None:  # it has none at all, which is said once and not for each utterance
            scored.failed.pop((system, "symbol_duration"), None)
    return scored


def plain(text: str) -> str:
    """A text as it can be heard: small letters, single blanks, no punctuation, no marks of stress.

    A hyphen or a dash is a blank; an apostrophe inside a word vanishes.

    >>> plain("Всё-таки, прядь вол+ос… D'Artagnan's; и\u0301ли")
    'всё таки прядь волос dartagnans или'
    """
    text = re.sub("[\u0300\u0301+'’ʼ`]", "", unicodedata.normalize("NFC", text))
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in text.lower())
    return " ".join("".join(kept).split())


def recognition_errors(
    references: Mapping[str, str],
    heard: Mapping[str, Mapping[str, str]],
    ceiling: str | None = None,
    spaces: bool = True,
    resamples: int = 10000,
    seed: int = 0,
) -> dict[str, dict[str, dict]]:
    """Character and word errors of a recogniser on each system, after `plain` on both sides.

    Args:
        references: utterance to text.
        heard: system to utterance to text, natural speech (`NATURAL`) among them.
        ceiling: the system that the others are compared with; None: natural speech.
        spaces: see `imlspike.analysis.scoring.score_utterances`.

    Returns:
        System to "cer" and "wer" to what `error_rates` gives; its `over` is over the ceiling.

    >>> heard = {NATURAL: {"a": "да"}, "voice": {"a": "дам"}}
    >>> errors = recognition_errors({"a": "Да!"}, heard, resamples=10)
    >>> errors["voice"]["cer"]["over"], errors[NATURAL]["wer"]["rate"]
    (0.5, 0.0)
    """
    truth = {name: plain(text) for name, text in references.items()}
    texts = {name: {u: plain(text) for u, text in table.items()} for name, table in heard.items()}
    options = (spaces, resamples, seed)
    rates = {key: error_rates(truth, texts, ceiling or NATURAL, key, *options) for key in RATES}
    return {name: {key: rates[key][name] for key in RATES} for name in heard}
