"""Speakers of natural recordings, to tell whose voice a synthetic one is nearest to.

A speaker is the mean of embeddings (`Sound.embedding`) of natural recordings of the scored set. The recording
of the sentence that is scored is left out of it: it would make natural speech, and a copy of that recording,
more alike than they are.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from imlspike.data.audio import read_audio
from imlspike.data.parallel import map_parallel
from imlspike.data.progress import Progress
from imlspike.evaluation.sound import Sound
from imlspike.evaluation.systems import NATURAL, Task

PER_PROCESS = 10  # recordings that are worth a process


def add_speakers(tasks: Sequence[Task], speaker_of: Mapping[str, str], rate: int, nj: int) -> list[Task]:
    """The tasks with their speakers (utterance to speaker) and the embeddings of all speakers."""
    progress = Progress("recordings' speakers")
    found = map_parallel(partial(_embed, rate), tasks, nj, progress, PER_PROCESS)
    spoken = {task.utterance: one for task, one in zip(tasks, found, strict=True) if one is not None}
    recordings = [(task.utterance, Path(task.files[NATURAL]).read_bytes()) for task in tasks]
    told = [f"{name} {speaker_of[name]} {hashlib.sha256(sound).hexdigest()}" for name, sound in recordings]
    origin = hashlib.sha256("\n".join(told).encode()).hexdigest()
    return [
        task._replace(
            speaker=speaker_of[task.utterance],
            speakers=speakers_without(task.utterance, spoken, speaker_of),
            speakers_of=origin,
        )
        for task in tasks
    ]


def _embed(rate: int, task: Task) -> np.ndarray | None:
    """None where there is no speech; the measure tells it for the utterance."""
    try:
        return Sound(read_audio(task.files[NATURAL], rate, task.utterance), rate).embedding
    except ValueError:
        return None


def speakers_without(
    utterance: str, embeddings: Mapping[str, np.ndarray], speaker_of: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Speaker to the mean of its utterances' embeddings but the named one's, of length 1.

    A speaker of whom nothing is left is not in it.

    >>> said = {"a1": np.array([1.0, 0.0]), "a2": np.array([0.0, 2.0]), "b1": np.array([0.6, 0.8])}
    >>> speakers_without("a1", said, {"a1": "a", "a2": "a", "b1": "b"})
    {'a': array([0., 1.]), 'b': array([0.6, 0.8])}
    """
    sums: dict[str, np.ndarray] = {}
    for name, vector in embeddings.items():
        if name != utterance:
            sums[speaker_of[name]] = sums.get(speaker_of[name], 0) + vector
    return {speaker: total / np.linalg.norm(total) for speaker, total in sorted(sums.items())}


def confusion(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Speaker to the nearest speaker to the number of utterances, from pairs of both.

    >>> confusion([("small", "small"), ("big", "small"), ("small", "small")])
    {'big': {'small': 1}, 'small': {'small': 2}}
    """
    table: dict[str, dict[str, int]] = {}
    for (speaker, nearest), count in sorted(Counter(pairs).items()):
        table.setdefault(speaker, {})[nearest] = count
    return table
