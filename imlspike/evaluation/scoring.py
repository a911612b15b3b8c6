"""Scores of vocoders and voices: what each system made of the same sentences, against natural speech of them.

Each measure (`imlspike.evaluation.measures`) is taken for every utterance; a system's figure is the mean over
utterances with a bootstrap interval. Natural speech scored against itself is always in the table: the best
that a measure can give. Vocoders do copy-synthesis: lengths agree to a hop and are trimmed. Lengths of voices
are free.
"""

import functools
import hashlib
import json
import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import imlspike
from imlspike.data.audio import AudioError, audio_format, read_audio
from imlspike.data.files import make_folder, read_kaldi
from imlspike.data.kaldi import Utterance, read_data_dir
from imlspike.data.keys import check_choice
from imlspike.data.mel import MEL_KEYS
from imlspike.data.parallel import map_parallel
from imlspike.data.progress import Progress
from imlspike.data.write_audio import write_audio
from imlspike.evaluation.bootstrap import CONFIDENCE, interval
from imlspike.evaluation.error_rates import RATES, check_references, compare_transcripts, plain
from imlspike.evaluation.measures import MEASURES, nearest_speaker, why_not
from imlspike.evaluation.recognition import Recognize, read_languages, transcribe_systems
from imlspike.evaluation.sound import F0_RANGE, Sound
from imlspike.evaluation.speakers import add_speakers, confusion
from imlspike.evaluation.systems import GRIFFIN_LIM, NATURAL, System, Task, add_durations, find_pairs
from imlspike.evaluation.tables import write_files
from imlspike.inference.griffin_lim import griffin_lim
from imlspike.layers.log_mel import LogMel

LIBRARIES = (
    "pesq pystoi torchcrepe visqol-python pyworld librosa resemblyzer speechmos onnxruntime torchmetrics "
    "jiwer torch torchaudio"
).split()
PER_PROCESS = 2  # utterances that are worth a process: each takes seconds
OF_SPEAKERS = {"speaker", "own_speaker"}  # measures that need embeddings of the set's speakers


class Settings(NamedTuple):
    """Settings that all utterances are scored with."""

    kind: str  # "vocoder" or "voice", of `MEASURES`
    sampling_rate: int  # Hz
    hop_length: int  # samples in a frame; by so many the lengths of copy-synthesis may differ
    measures: tuple[str, ...]  # keys of ``MEASURES[kind]``
    crepe: str = "full"  # as `f0_range`: see `Sound`
    f0_range: tuple[float, float] = F0_RANGE
    features: tuple[tuple[str, float], ...] = ()  # arguments of the vocoder's `LogMel`


class Scored(NamedTuple):
    """One utterance's scores."""

    utterance: str
    seconds: float  # of the natural recording
    values: dict[str, dict[str, float]]  # system to measure to value
    failed: dict[tuple[str, str], str]  # (system, measure) to why there is no value
    nearest: dict[str, str] = {}  # system to the speaker that it is most like, where that is measured


@functools.cache
def log_mel(features: tuple[tuple[str, float], ...]) -> LogMel:
    """The feature extractor of a vocoder, by `Settings.features`."""
    return LogMel(**dict(features))


def score_utterance(settings: Settings, task: Task) -> Scored:
    """All measures of all systems on one utterance, whose files `find_pairs` has checked.

    A measure that fails on an utterance (PESQ on silence) or isn't finite leaves no value but its reason.

    Raises:
        ValueError: natural durations that don't add up to the recording.
    """
    rate, hop = settings.sampling_rate, settings.hop_length
    waves = {name: read_audio(path, rate, f"{task.utterance}, {name}") for name, path in task.files.items()}
    length = len(waves[NATURAL])
    told, own = sum(task.durations.get(NATURAL, ())) * hop / rate, length / rate
    if settings.kind != "vocoder" and NATURAL in task.durations and abs(told - own) * rate > 2 * hop:
        raise ValueError(
            f"{task.utterance}: its natural durations add up to {told:.3f} s, its recording has {own:.3f} s; "
            f"is a frame {1000 * hop / rate:g} ms (--hop-length)?"
        )
    features = log_mel(settings.features) if settings.features else None

    @functools.cache  # what is derived from it is computed once
    def sound(name: str, samples: int) -> Sound:
        seconds = np.array(task.durations[name]) * hop / rate if name in task.durations else None
        who = (task.speaker, task.speakers) if name == NATURAL else ()
        wave = waves[name][:samples]
        return Sound(wave, rate, settings.crepe, settings.f0_range, seconds, features, *who)

    # A vocoder's and the natural one are cut to the shorter of the two, whatever else is scored.
    shorter = {name: min(len(wave), length) for name, wave in waves.items()}
    lengths = shorter if settings.kind == "vocoder" else {name: len(wave) for name, wave in waves.items()}
    sounds = {name: sound(name, samples) for name, samples in lengths.items()}
    scored = Scored(task.utterance, length / rate, {name: {} for name in sounds}, {}, {})
    for name, one in sounds.items():
        natural = sound(NATURAL, lengths[name] if settings.kind == "vocoder" else length)
        for key in settings.measures:
            if key == "symbol_duration" and one.durations is None:
                continue  # said once and not for each utterance
            try:
                value = float(MEASURES[settings.kind][key].function(natural, one))
                if not math.isfinite(value):
                    raise ValueError(f"the measure gives {value}")
                scored.values[name][key] = value
                if key == "own_speaker":
                    scored.nearest[name] = nearest_speaker(natural, one)
            except Exception as error:  # whatever a library may raise; the table counts and lists these
                reason = f"{type(error).__name__}: {error}"
                scored.failed[name, key] = reason if one.samples.any() else "no speech in it, only zeros"
    return scored


def score_or_recall(folder: Path, versions: Mapping[str, str], settings: Settings, task: Task) -> Scored:
    """`score_utterance`, of which only that is computed that isn't in `folder` yet.

    Scores are kept as <utterance>.json with a checksum of all that they depend on: the settings, the
    versions of the libraries and of imlspike, durations, the natural and the synthetic file's bytes, and the
    recordings that speakers' embeddings are of. Where a measure failed nothing is kept. A file that can't be
    read as such is written anew.
    """
    path, kept, keys = folder / f"{task.utterance}.json", {}, {}
    versions = {"imlspike": imlspike.__version__, **versions}
    own = task.durations.get(NATURAL), task.speaker, task.speakers_of
    about = repr((settings, sorted(versions.items()), *own)).encode()
    natural = Path(task.files[NATURAL]).read_bytes()
    for name, file in task.files.items():
        contents = about, repr(task.durations.get(name)).encode(), natural, Path(file).read_bytes()
        digests = (hashlib.sha256(content).digest() for content in contents)
        keys[name] = hashlib.sha256(b"".join(digests)).hexdigest()
    try:
        kept = {name: dict(one) for name, one in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        pass
    known = {name: kept[name]["values"] for name in keys if kept.get(name, {}).get("key") == keys[name]}
    nearest = {name: kept[name]["nearest"] for name in known if kept[name].get("nearest")}
    if len(known) == len(keys):
        values = {name: known[name] for name in keys}
        return Scored(task.utterance, kept[NATURAL]["seconds"], values, {}, nearest)
    new = {name: file for name, file in task.files.items() if name == NATURAL or name not in known}
    scored = score_utterance(settings, task._replace(files=new))
    failed = {name for name, _ in scored.failed}
    for name in scored.values.keys() - failed:
        kept[name] = {"key": keys[name], "seconds": scored.seconds, "values": scored.values[name]}
        kept[name]["nearest"] = scored.nearest.get(name)
    write_files({path: kept})
    values = {name: (known | scored.values)[name] for name in keys}
    return scored._replace(values=values, nearest=nearest | scored.nearest)


def summarize(
    scored: Sequence[Scored], measures: Sequence[str], twin: str | None = None, **resampling: int
) -> dict[str, dict]:
    """System to measure to ``{"mean", "ci95", "utterances", "failed", "to_twin"}``, ready to be JSON.

    `failed` holds utterance to reason; "mean" is None where no utterance could be scored. `to_twin` holds
    mean, ci95 and utterances of the difference to the system `twin` on the same utterances (a paired
    bootstrap), None without one. `resampling` is as for `interval`.
    """

    def mean(values: list[float]) -> dict:
        if not values:
            return {"mean": None, "ci95": None, "utterances": 0}
        ends = interval(np.mean, values, **resampling)
        return {"mean": float(np.mean(values)), "ci95": ends, "utterances": len(values)}

    def summary(name: str, key: str) -> dict:
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
    """Score the audio of several systems (name to folder): the content of scores.json, and the scores of each
    utterance.

    `options` are those of `imlspike score` about audio, by their names; without `features` (of a vocoder's
    bundle) the systems are voices; `recognize`, by its name `recognizer`, hears all. ValueError: as
    `find_pairs`, `add_durations`, `score_utterance`; unknown names in the options; a text without a word.
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
    utterances = read_data_dir(options.data_dir)
    speaker_of = {utterance.id: utterance.speaker for utterance in utterances}
    if "own_speaker" in asked and len(set(speaker_of.values())) < 2:
        left_out["own_speaker"] = f"{options.data_dir} has one speaker only"
    measures = tuple(key for key in asked if key not in left_out)
    references = _references(utterances, options.text)
    languages = read_languages(options.data_dir, options.language, references)
    if recognize and utterances:
        check_references({name: plain(text) for name, text in references.items()})
    known = {key: value for key, value in (features or {}).items() if key in MEL_KEYS}
    rate = known.get("sampling_rate") or _rate_of(utterances)
    hop = known.get("hop_length", options.hop_length)
    settings = Settings(kind, rate, hop, measures, options.crepe, tuple(options.f0), tuple(known.items()))
    audio = {name: system.audio for name, system in opened.items()}
    tasks, not_scored = find_pairs(utterances, audio, rate, hop if known else None)
    if known and GRIFFIN_LIM not in opened:
        opened = {GRIFFIN_LIM: System(output_dir / GRIFFIN_LIM)} | opened
        tasks = add_griffin_lim(settings, opened[GRIFFIN_LIM].audio, tasks, options.nj)
    if OF_SPEAKERS & {*measures}:
        tasks = add_speakers(tasks, speaker_of, rate, options.nj)
    if options.natural_durations:
        tasks = add_durations(tasks, options.natural_durations, opened)
    used, resampling = _versions(), {"resamples": options.resamples, "seed": options.seed}
    work = functools.partial(score_or_recall, output_dir / "kept", used, settings)
    scored = list(map_parallel(work, tasks, options.nj, Progress("utterances scored"), PER_PROCESS))
    shown = {NATURAL: System(options.data_dir, options.natural_durations), **opened}
    scores, errors = summarize(scored, measures, twin, **resampling), dict.fromkeys(shown, {})
    if recognize:
        wavs = {name: {task.utterance: task.files[name] for task in tasks} for name in shown}
        heard = transcribe_systems(recognize, wavs, rate, output_dir / "asr")
        spaces = not options.no_spaces
        errors = compare_transcripts(references, heard, ceiling or NATURAL, spaces, languages, **resampling)
    speakers = sorted({*speaker_of.values()}) if "own_speaker" in measures else []
    report = {
        "kind": kind,
        "data_dir": str(options.data_dir),
        "utterances": len(scored),
        "seconds": sum(one.seconds for one in scored),
        "words": sum(len(plain(text).split()) for text in references.values()),
        "sampling_rate": rate,
        "hop_length": hop,
        "features": known or None,
        "crepe": options.crepe,
        "f0": list(options.f0),
        "bootstrap": resampling | {"confidence": CONFIDENCE},
        "measures": asked,
        "left_out": left_out,
        "recognizer": recognizer,
        "languages": sorted({*languages.values()}),
        "speakers": speakers,
        "characters": "spaces left out" if options.no_spaces else "characters with spaces",
        "ceiling": ceiling,
        "twin": twin,
        "not_scored": not_scored,
        "systems": {
            name: {
                "folder": str(system.audio),
                "scores": scores[name],
                "nearest": confusion(
                    (speaker_of[s.utterance], s.nearest[name]) for s in scored if name in s.nearest
                ),
                "durations": bool(options.natural_durations and system.durations),
                "synthesis": system.synthesis,
                **{rate: errors[name].get(rate) for rate in RATES},
            }
            for name, system in shown.items()
        },
        "versions": used,
    }
    return report, scored


def _references(utterances: Sequence[Utterance], text: Path | None) -> dict[str, str]:
    """Utterance to text, of the data directory or of another table, which must have them all."""
    own = {utterance.id: utterance.text for utterance in utterances}
    table = read_kaldi(text) if text else own
    if absent := [name for name in own if name not in table]:
        raise ValueError(f"{text}: no line for {absent[0]} ({len(absent)} of {len(own)})")
    return {name: table[name] for name in own}


def add_griffin_lim(settings: Settings, folder: Path, tasks: Sequence[Task], nj: int) -> list[Task]:
    """Synthesize every utterance by Griffin-Lim into `folder`; the tasks with it as the first system."""
    make_folder(folder)
    work = functools.partial(_write_griffin_lim, settings, folder)
    written = map_parallel(work, tasks, nj, Progress("utterances by Griffin-Lim"), PER_PROCESS)
    added = []
    for task, path in zip(tasks, written, strict=True):
        natural = {NATURAL: task.files[NATURAL], GRIFFIN_LIM: path}
        added.append(task._replace(files=natural | task.files))
    return added


def _write_griffin_lim(settings: Settings, folder: Path, task: Task) -> str:
    features = log_mel(settings.features)
    wave = torch.from_numpy(read_audio(task.files[NATURAL], settings.sampling_rate, task.utterance))
    if len(wave) <= features.n_fft // 2:
        raise AudioError(
            f"{task.utterance}: {len(wave)} samples; a mel spectrogram takes more than "
            f"{features.n_fft // 2}. Leave it out of the data directory"
        )
    path = folder / f"{task.utterance}.wav"
    write_audio(path, [griffin_lim(features, features(wave[None]))[0].numpy()], settings.sampling_rate)
    return str(path)


def _rate_of(utterances: Sequence[Utterance]) -> int:
    return audio_format(utterances[0].wav, utterances[0].id).sampling_rate if utterances else 0


def _versions() -> dict[str, str]:
    """Versions of the libraries that measure, "absent" for those that aren't installed."""
    found = dict.fromkeys(LIBRARIES, "absent")
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
