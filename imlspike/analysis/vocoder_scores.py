"""Scores of vocoders on copy-synthesis: natural speech against what each system made of its mel spectrogram.

Each measure (`imlspike.analysis.vocoder_measures`) is taken for every utterance; a system's figure is the
mean over utterances, with a bootstrap interval as in `imlspike.analysis.scoring`. Natural speech scored
against itself is always in the table: the best that a measure can give.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from imlspike.analysis.scoring import bootstrap_interval, score_utterances
from imlspike.analysis.vocoder_measures import MEASURES, Sound, mel_distance
from imlspike.data.audio import AudioError, audio_format, read_audio
from imlspike.data.kaldi import Utterance
from imlspike.data.write_audio import FORMATS, write_audio
from imlspike.inference.griffin_lim import griffin_lim
from imlspike.models.vocoder_parts import LogMelFeatures

NATURAL, GRIFFIN_LIM = "natural", "griffin_lim"
FEATURES = ("sampling_rate", "n_fft", "hop_length", "n_mels", "f_min", "f_max")


@dataclass(frozen=True)
class Settings:
    """What all utterances are scored with.

    Attributes:
        features: arguments of `LogMelFeatures`, as a vocoder's bundle has them.
        measures: keys of `MEASURES`.
        crepe: size of the pitch tracker, "full" or "tiny".
    """

    features: tuple[tuple[str, float], ...]
    measures: tuple[str, ...]
    crepe: str = "full"

    @classmethod
    def of(cls, config: Mapping, measures: Sequence[str], crepe: str = "full") -> "Settings":
        """From the features of a vocoder's bundle; keys that don't belong to the features are passed over.

        >>> Settings.of({"sampling_rate": 24000, "dim": 512}, ["mcd"]).features
        (('sampling_rate', 24000),)
        """
        features = tuple((key, config[key]) for key in FEATURES if key in config)
        return cls(features, tuple(measures), crepe)

    @property
    def log_mel(self) -> LogMelFeatures:
        """The feature extractor."""
        return _extractor(self.features)


@functools.cache
def _extractor(features):
    return LogMelFeatures(**dict(features))


@dataclass(frozen=True)
class Task:
    """One utterance: its name, its natural recording, and system to what that made of it."""

    utterance: str
    natural: str
    synthetic: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """One utterance's scores.

    Attributes:
        utterance, seconds: name and the length that was compared.
        values: system to measure to value.
        failed: (system, measure) to why there is no value.
    """

    utterance: str
    seconds: float
    values: dict[str, dict[str, float]]
    failed: dict[tuple[str, str], str]


def find_pairs(
    utterances: Sequence[Utterance],
    systems: Mapping[str, Path],
    sampling_rate: int,
    hop_length: int | None = None,
) -> tuple[list[Task], dict[str, list[str]]]:
    """The files to compare, checked before any work is done.

    Args:
        utterances: of the natural speech, as `imlspike.data.kaldi.read_data_dir` reads them.
        systems: name to the folder with <utterance>.wav or <utterance>.flac for each utterance.
        sampling_rate: Hz, of all files.
        hop_length: samples; the lengths of copy-synthesis may differ by so many, and are trimmed when they
            are read. None: lengths are free.

    Returns:
        A task for each utterance, and for each system the audio files that belong to no utterance.

    Raises:
        ValueError: no utterances; a folder that isn't there or lacks an utterance; a file that can't be read,
            has another sampling rate, several channels, or another length. The utterance is named.
    """
    if not utterances:
        raise ValueError("the data directory holds no utterance; there is nothing to score")
    found = {name: _sounds(name, Path(folder)) for name, folder in systems.items()}
    tasks = []
    for utterance in utterances:
        task = Task(utterance.id, utterance.wav)
        length = _length(utterance.wav, f"{utterance.id}, natural", sampling_rate)
        for name, files in found.items():
            if utterance.id not in files:
                absent = sum(u.id not in files for u in utterances)
                raise ValueError(
                    f"{systems[name]}: no {utterance.id}.wav or .flac ({absent} of {len(utterances)} "
                    f"utterances are missing); let {name!r} synthesise them, or score a smaller set"
                )
            task.synthetic[name] = str(files[utterance.id])
            other = _length(task.synthetic[name], f"{utterance.id}, {name}", sampling_rate)
            if hop_length is not None:
                _check_lengths(utterance.id, name, length, other, hop_length)
        tasks.append(task)
    known = {utterance.id for utterance in utterances}
    return tasks, {name: sorted(files.keys() - known) for name, files in found.items()}


def _sounds(name: str, folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; it should hold the audio of the system {name!r}")
    files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in FORMATS}
    if not files:
        raise ValueError(f"{folder}: no .wav or .flac in it; it should hold the audio of the system {name!r}")
    return files


def _length(path: str, who: str, sampling_rate: int) -> int:
    form = audio_format(path, who)
    if (form.sampling_rate, form.channels) != (sampling_rate, 1):
        raise AudioError(
            f"{who} ({path}): {form.sampling_rate} Hz with {form.channels} channel(s); all systems are "
            f"scored at {sampling_rate} Hz mono, the model's rate: synthesise it again, or name its own model"
        )
    return (
        len(read_audio(path, sampling_rate, who))
        if form.seconds is None
        else round(form.seconds * sampling_rate)
    )


def _check_lengths(utterance, name, natural, synthetic, hop_length):
    if abs(natural - synthetic) > hop_length:
        raise AudioError(
            f"{utterance}: {name} has {synthetic} samples, natural speech {natural}; copy-synthesis may "
            f"differ by a hop ({hop_length}) at most. Was it made from another recording?"
        )


def write_griffin_lim(settings: Settings, folder: str, task: Task) -> str:
    """Copy-synthesis of one recording by Griffin-Lim, written as <utterance>.wav into `folder`; its path."""
    features = settings.log_mel
    rate = dict(settings.features)["sampling_rate"]
    wave = torch.from_numpy(read_audio(task.natural, rate, task.utterance))
    if len(wave) <= features.n_fft // 2:
        raise AudioError(
            f"{task.utterance}: {len(wave)} samples; a mel spectrogram takes more than "
            f"{features.n_fft // 2}. Leave it out of the data directory"
        )
    path = Path(folder) / f"{task.utterance}.wav"
    write_audio(path, [griffin_lim(features, features(wave[None]))[0].numpy()], rate)
    return str(path)


def score_utterance(settings: Settings, task: Task) -> Scored:
    """All measures of all systems on one utterance.

    A measure of a library that fails on an utterance (PESQ on silence) leaves no value but its reason.

    Raises:
        AudioError: as `find_pairs`, with the utterance's name.
    """
    rate = dict(settings.features)["sampling_rate"]
    waves = {NATURAL: read_audio(task.natural, rate, f"{task.utterance}, natural")}
    for name, path in task.synthetic.items():
        waves[name] = read_audio(path, rate, f"{task.utterance}, {name}")
        _check_lengths(
            task.utterance, name, len(waves[NATURAL]), len(waves[name]), settings.log_mel.hop_length
        )
    shortest = min(map(len, waves.values()))
    sounds = {name: Sound(wave[:shortest], rate, settings.crepe) for name, wave in waves.items()}
    functions = {key: MEASURES[key].function for key in settings.measures}
    for key, function in functions.items():
        if function is mel_distance:
            functions[key] = functools.partial(mel_distance, settings.log_mel)
    return take(functions, task.utterance, sounds, shortest / rate)


def take(
    functions: Mapping[str, Callable], utterance: str, sounds: Mapping[str, Sound], seconds: float
) -> Scored:
    """The scores of one utterance; a function that fails on it leaves no value but its reason.

    Args:
        functions: measure to function of the natural and the synthetic sound.
        utterance, seconds: of `Scored`.
        sounds: system to sound; `NATURAL` is among them.
    """
    scored = Scored(utterance, seconds, {name: {} for name in sounds}, {})
    for name, sound in sounds.items():
        for key, function in functions.items():
            try:
                scored.values[name][key] = function(sounds[NATURAL], sound)
            except Exception as error:  # whatever a library may raise; the table counts and lists these
                scored.failed[name, key] = f"{type(error).__name__}: {error}"
    return scored


def summarize(
    scored: Sequence[Scored],
    measures: Sequence[str],
    twin: str | None = None,
    resamples: int = 10000,
    seed: int = 0,
) -> dict[str, dict]:
    """System to measure to ``{"mean", "ci95", "utterances", "failed", "to_twin"}``, ready to be JSON.

    `failed` holds utterance to reason; "mean" is None where no utterance could be scored. `to_twin` holds
    mean, ci95 and utterances of the difference to the system `twin` on the same utterances (a paired
    bootstrap), None without one.
    """

    def mean(values):
        summary = {"mean": None, "ci95": None, "utterances": len(values)}
        if values:
            interval = bootstrap_interval(values, np.ones(len(values)), resamples, seed)
            summary |= {"mean": float(np.mean(values)), "ci95": list(interval)}
        return summary

    def summary(name, key):
        rows = [(s.values[name], s.values.get(twin, {})) for s in scored if key in s.values[name]]
        failed = {s.utterance: s.failed[name, key] for s in scored if (name, key) in s.failed}
        pairs = [own[key] - other[key] for own, other in rows if key in other]
        return mean([own[key] for own, _ in rows]) | {
            "failed": failed,
            "to_twin": mean(pairs) if pairs and name != twin else None,
        }

    return {name: {key: summary(name, key) for key in measures} for name in scored[0].values}


def character_errors(
    references: Mapping[str, str],
    transcripts: Mapping[str, Mapping[str, str]],
    spaces: bool = True,
    resamples: int = 10000,
    seed: int = 0,
) -> dict[str, dict]:
    """Character error rate of a recogniser on each system, and by how much it exceeds that on natural speech.

    Args:
        references: utterance to text.
        transcripts: system to utterance to text; `NATURAL` must be there.
        spaces: see `imlspike.analysis.scoring.score_utterances`.

    Returns:
        System to ``{"rate", "ci95", "over_natural", "over_natural_ci95", "per_utterance"}``: ratios,
        intervals by bootstrap over utterances (paired for the difference), errors of each utterance.

    >>> texts = {NATURAL: {"a": "abcd", "b": "xy"}, "vocoder": {"a": "abcd", "b": "xz"}}
    >>> errors = character_errors({"a": "abcd", "b": "xy"}, texts)
    >>> round(errors["vocoder"]["rate"], 4), round(errors["vocoder"]["over_natural"], 4)
    (0.1667, 0.1667)
    """
    rates = error_rates(references, transcripts, NATURAL, "cer", spaces, resamples, seed)
    names = {"over": "over_natural", "over_ci95": "over_natural_ci95"}
    return {
        system: {names.get(key, key): value for key, value in rate.items()} for system, rate in rates.items()
    }


def error_rates(
    references: Mapping[str, str],
    transcripts: Mapping[str, Mapping[str, str]],
    against: str,
    measure: str,
    spaces: bool = True,
    resamples: int = 10000,
    seed: int = 0,
) -> dict[str, dict]:
    """Error rate of a recogniser on each system, and by how much it exceeds that on one of them.

    Args:
        references, transcripts, spaces: of `character_errors`.
        against: the system that the others are compared with.
        measure: "cer" or "wer".

    Returns:
        System to ``{"rate", "ci95", "over", "over_ci95", "per_utterance"}``, as `character_errors`.

    >>> texts = {"natural": {"a": "to be", "b": "not"}, "voice": {"a": "two be", "b": "not"}}
    >>> errors = error_rates({"a": "to be", "b": "not"}, texts, "natural", "wer")
    >>> round(errors["voice"]["over"], 4), errors["voice"]["per_utterance"]
    (0.3333, {'a': 1, 'b': 0})
    """
    counts = {}
    for name, texts in transcripts.items():
        rows = [score.counts(measure) for score in score_utterances(dict(references), dict(texts), spaces)]
        counts[name] = np.array(rows)  # hits, substitutions, deletions, insertions
    interval: Callable = functools.partial(bootstrap_interval, resamples=resamples, seed=seed)
    lengths = counts[against][:, :3].sum(1)
    base = counts[against][:, 1:].sum(1)
    result = {}
    for name, table in counts.items():
        errors = table[:, 1:].sum(1)
        result[name] = {
            "rate": float(errors.sum() / lengths.sum()),
            "ci95": list(interval(errors, lengths)),
            "over": float((errors - base).sum() / lengths.sum()),
            "over_ci95": list(interval(errors - base, lengths)),
            "per_utterance": dict(zip(references, map(int, errors), strict=True)),
        }
    return result
