"""Scores of vocoders and voices: what each system made of the same sentences, against natural speech of them.

Each measure (`imlspike.evaluation.measures`) is taken for every utterance; a system's figure is the mean over
utterances with a bootstrap interval. Natural speech scored against itself is always in the table: the best
that a measure can give. Vocoders do copy-synthesis: lengths agree to a hop and are trimmed. Lengths of voices
are free.
"""

import functools
import hashlib
import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from imlspike.data.audio import AudioError, audio_format, read_audio
from imlspike.data.files import atomic_write, read_kaldi
from imlspike.data.kaldi import Utterance, read_data_dir
from imlspike.data.keys import check_choice
from imlspike.data.parallel import map_parallel
from imlspike.data.progress import Progress
from imlspike.data.write_audio import write_audio
from imlspike.evaluation.bootstrap import CONFIDENCE, interval
from imlspike.evaluation.error_rates import RATES, compare_transcripts
from imlspike.evaluation.measures import MEASURES, why_not
from imlspike.evaluation.recognition import Recognize, transcribe_systems
from imlspike.evaluation.sound import F0_RANGE, Sound
from imlspike.evaluation.systems import (
    GRIFFIN_LIM,
    NATURAL,
    System,
    Task,
    add_durations,
    check_lengths,
    find_pairs,
)
from imlspike.inference.griffin_lim import griffin_lim
from imlspike.models.vocoder_parts import LogMelFeatures

FEATURES = ("sampling_rate", "n_fft", "hop_length", "n_mels", "f_min", "f_max")
LIBRARIES = (
    "pesq pystoi torchcrepe visqol-python pyworld librosa resemblyzer speechmos onnxruntime torchmetrics "
    "jiwer torch torchaudio"
).split()
PER_PROCESS = 2  # utterances that are worth a process: each takes seconds


@dataclass(frozen=True)
class Settings:
    """What all utterances are scored with.

    Attributes:
        kind: "vocoder" or "voice", of `MEASURES`.
        sampling_rate: Hz.
        hop_length: samples in a frame; by so many the lengths of copy-synthesis may differ.
        measures: keys of ``MEASURES[kind]``.
        crepe, f0_range: as for `Sound`.
        features: arguments of the vocoder's `LogMelFeatures`; empty for a voice.
    """

    kind: str
    sampling_rate: int
    hop_length: int
    measures: tuple[str, ...]
    crepe: str = "full"
    f0_range: tuple[float, float] = F0_RANGE
    features: tuple[tuple[str, float], ...] = ()

    @property
    def log_mel(self) -> LogMelFeatures | None:
        """The vocoder's feature extractor."""
        return _extractor(self.features) if self.features else None


@functools.cache
def _extractor(features):
    return LogMelFeatures(**dict(features))


@dataclass(frozen=True)
class Scored:
    """One utterance's scores.

    Attributes:
        utterance, seconds: name, and length of the natural recording.
        values: system to measure to value.
        failed: (system, measure) to why there is no value.
    """

    utterance: str
    seconds: float
    values: dict[str, dict[str, float]]
    failed: dict[tuple[str, str], str]


def write_griffin_lim(settings: Settings, folder: str, task: Task) -> str:
    """Copy-synthesis of one recording by Griffin-Lim, written as <utterance>.wav into `folder`; its path."""
    features = settings.log_mel
    wave = torch.from_numpy(read_audio(task.natural, settings.sampling_rate, task.utterance))
    if len(wave) <= features.n_fft // 2:
        raise AudioError(
            f"{task.utterance}: {len(wave)} samples; a mel spectrogram takes more than "
            f"{features.n_fft // 2}. Leave it out of the data directory"
        )
    path = Path(folder) / f"{task.utterance}.wav"
    audio = griffin_lim(features, features(wave[None]))[0].numpy()
    write_audio(path, [audio], settings.sampling_rate)
    return str(path)


def score_utterance(settings: Settings, task: Task) -> Scored:
    """All measures of all systems on one utterance.

    A measure that fails on an utterance (PESQ on silence) leaves no value but its reason.

    Raises:
        ValueError: as `find_pairs`; natural durations that don't add up to the recording.
    """
    rate, hop = settings.sampling_rate, settings.hop_length
    waves = {name: read_audio(path, rate, f"{task.utterance}, {name}") for name, path in task.files.items()}
    length = len(waves[NATURAL])
    if settings.kind == "vocoder":
        for name, wave in waves.items():
            check_lengths(task.utterance, name, length, len(wave), hop)
        length = min(map(len, waves.values()))
        waves = {name: wave[:length] for name, wave in waves.items()}
    elif NATURAL in task.durations and abs(sum(task.durations[NATURAL]) * hop - length) > 2 * hop:
        told, own = sum(task.durations[NATURAL]) * hop / rate, length / rate
        raise ValueError(
            f"{task.utterance}: its natural durations add up to {told:.3f} s, its recording has {own:.3f} s; "
            f"is a frame {1000 * hop / rate:g} ms (--hop-length)?"
        )
    sounds = {}
    for name, wave in waves.items():
        frames = task.durations.get(name)
        seconds = None if frames is None else np.array(frames) * hop / rate
        sounds[name] = Sound(wave, rate, settings.crepe, settings.f0_range, seconds, settings.log_mel)
    scored = Scored(task.utterance, length / rate, {name: {} for name in sounds}, {})
    for name, sound in sounds.items():
        for key in settings.measures:
            if key == "symbol_duration" and sound.durations is None:
                continue  # said once and not for each utterance
            try:
                scored.values[name][key] = MEASURES[settings.kind][key].function(sounds[NATURAL], sound)
            except Exception as error:  # whatever a library may raise; the table counts and lists these
                scored.failed[name, key] = f"{type(error).__name__}: {error}"
    return scored


def score_or_recall(folder: Path, versions: Mapping[str, str], settings: Settings, task: Task) -> Scored:
    """`score_utterance`, of which only that is computed that isn't in `folder` yet.

    Scores are kept as <utterance>.json with a checksum of all that they depend on: the settings, the
    libraries' versions, durations, the natural and the synthetic file's bytes. Where a measure failed nothing
    is kept. A file that can't be read as such is written anew.
    """
    path = folder / f"{task.utterance}.json"
    about = repr((settings, sorted(versions.items()), task.durations.get(NATURAL))).encode()
    keys = {}
    for name, file in task.files.items():
        contents = (about, repr(task.durations.get(name)).encode(), _read(task.natural), _read(file))
        keys[name] = hashlib.sha256(b"".join(hashlib.sha256(c).digest() for c in contents)).hexdigest()
    kept = _kept(path)
    recalled = {name: kept[name]["values"] for name in keys if kept.get(name, {}).get("key") == keys[name]}
    if len(recalled) == len(keys):
        return Scored(task.utterance, kept[NATURAL]["seconds"], {name: recalled[name] for name in keys}, {})
    new = {name: file for name, file in task.synthetic.items() if name not in recalled}
    scored = score_utterance(settings, replace(task, synthetic=new))
    failed = {name for name, _ in scored.failed}
    for name, values in scored.values.items():
        if name not in failed:
            kept[name] = {"key": keys[name], "seconds": scored.seconds, "values": values}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as out:
        json.dump(kept, out, indent=1)
    values = recalled | scored.values
    return replace(scored, values={name: values[name] for name in keys})


def _read(file: str) -> bytes:
    return Path(file).read_bytes()


def _kept(path: Path) -> dict:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) and all(isinstance(one, dict) for one in kept.values()) else {}


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
        if not values:
            return {"mean": None, "ci95": None, "utterances": 0}
        ends = interval(np.mean, values, resamples=resamples, seed=seed)
        return {"mean": float(np.mean(values)), "ci95": ends, "utterances": len(values)}

    def summary(name, key):
        rows = [(s.values[name], s.values.get(twin, {})) for s in scored if key in s.values[name]]
        failed = {s.utterance: s.failed[name, key] for s in scored if (name, key) in s.failed}
        pairs = [own[key] - other[key] for own, other in rows if key in other]
        to_twin = mean(pairs) if pairs and name != twin else None
        return mean([own[key] for own, _ in rows]) | {"failed": failed, "to_twin": to_twin}

    return {name: {key: summary(name, key) for key in measures} for name in scored[0].values}


def score_systems(
    options: Namespace,
    systems: Mapping[str, Path],
    features: Mapping | None = None,
    recognize: Recognize | None = None,
    recognizer: str | None = None,
) -> tuple[dict, list[Scored]]:
    """Score the audio of several systems.

    Args:
        options: of `imlspike score` about audio, by their names.
        systems: name to folder.
        features: of a vocoder's bundle; None: the systems are voices.
        recognize, recognizer: what hears all systems, and its name.

    Returns:
        The content of scores.json, and the scores of each utterance.

    Raises:
        ValueError: as `find_pairs`, `add_durations`, `score_utterance`; unknown names in the options.
    """
    kind, output_dir = "voice" if features is None else "vocoder", options.output_dir
    opened = {name: System.open(folder) for name, folder in systems.items()}
    asked = list(options.measures or MEASURES[kind])
    for key in asked:
        check_choice("--measures", key, MEASURES[kind])
    for option, name in (("--ceiling", options.ceiling), ("--twin", options.twin)):
        if name is not None:
            check_choice(option, name, opened)
    natural = [name for name, system in opened.items() if (system.synthesis or {}).get("mode") == "natural"]
    ceiling = options.ceiling or (natural[0] if len(natural) == 1 else None)
    twin = options.twin or ("ann" if "ann" in opened else None)
    left_out = {key: reason for key in asked if (reason := why_not(MEASURES[kind][key]))}
    if options.natural_durations is None and "symbol_duration" in asked:
        left_out["symbol_duration"] = "no natural durations were named (--natural-durations)"
    measures = tuple(key for key in asked if key not in left_out)
    utterances = read_data_dir(options.data_dir)
    references = _references(utterances, options.text)
    known = {key: value for key, value in (features or {}).items() if key in FEATURES}
    rate, hop = (
        known.get("sampling_rate") or _rate_of(utterances),
        known.get("hop_length", options.hop_length),
    )
    settings = Settings(kind, rate, hop, measures, options.crepe, tuple(options.f0), tuple(known.items()))
    audio = {name: system.audio for name, system in opened.items()}
    tasks, not_scored = find_pairs(utterances, audio, rate, hop if known else None)
    if known and GRIFFIN_LIM not in opened:
        opened = {GRIFFIN_LIM: System(output_dir / GRIFFIN_LIM)} | opened
        tasks = add_griffin_lim(settings, opened[GRIFFIN_LIM].audio, tasks, options.nj)
    if options.natural_durations:
        tasks = add_durations(tasks, options.natural_durations, opened)
    used, resampling = _versions(), {"resamples": options.resamples, "seed": options.seed}
    work = functools.partial(score_or_recall, output_dir / "kept", used, settings)
    scored = list(map_parallel(work, tasks, options.nj, Progress("utterances scored"), PER_PROCESS))
    scores, errors = summarize(scored, measures, twin, **resampling), {}
    if recognize:
        wavs = {name: {task.utterance: task.files[name] for task in tasks} for name in scores}
        heard = transcribe_systems(recognize, wavs, rate, output_dir / "asr")
        spaces = not options.no_spaces
        errors = compare_transcripts(references, heard, ceiling or NATURAL, spaces, **resampling)
    shown = {NATURAL: System(options.data_dir, options.natural_durations), **opened}
    report = {
        "kind": kind,
        "data_dir": str(options.data_dir),
        "utterances": len(scored),
        "seconds": sum(one.seconds for one in scored),
        "sampling_rate": rate,
        "hop_length": hop,
        "features": known or None,
        "crepe": options.crepe,
        "f0": list(options.f0),
        "bootstrap": resampling | {"confidence": CONFIDENCE},
        "measures": asked,
        "left_out": left_out,
        "recognizer": recognizer,
        "characters": "spaces left out" if options.no_spaces else "characters with spaces",
        "ceiling": ceiling,
        "twin": twin,
        "not_scored": not_scored,
        "systems": {
            name: {
                "folder": str(system.audio),
                "scores": scores[name],
                "durations": bool(options.natural_durations and system.durations),
                "synthesis": system.synthesis,
                **{rate: errors[name][rate] if errors else None for rate in RATES},
            }
            for name, system in shown.items()
        },
        "versions": used,
    }
    return report, scored


def _references(utterances: Sequence[Utterance], text: Path | None) -> dict[str, str]:
    """What is said in each utterance, by the data directory or by another table, which must have them all."""
    own = {utterance.id: utterance.text for utterance in utterances}
    table = read_kaldi(text) if text else own
    if absent := [name for name in own if name not in table]:
        raise ValueError(f"{text}: no line for {absent[0]} ({len(absent)} of {len(own)})")
    return {name: table[name] for name in own}


def add_griffin_lim(settings: Settings, folder: Path, tasks: Sequence[Task], nj: int) -> list[Task]:
    """Synthesize every utterance by Griffin-Lim into `folder`; the tasks with that system, the first one."""
    folder.mkdir(parents=True, exist_ok=True)
    work = functools.partial(write_griffin_lim, settings, str(folder))
    files = map_parallel(work, tasks, nj, Progress("utterances by Griffin-Lim"), PER_PROCESS)
    pairs = zip(tasks, files, strict=True)
    return [replace(task, synthetic={GRIFFIN_LIM: file} | task.synthetic) for task, file in pairs]


def _rate_of(utterances: Sequence[Utterance]) -> int:
    return audio_format(utterances[0].wav, utterances[0].id).sampling_rate if utterances else 0


def _versions() -> dict[str, str]:
    """Versions of the libraries that measure, "absent" for those that aren't installed."""
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "absent"
    return found
