"""Contents of one experiment's folder of a recognizer, voice or vocoder, read from files only.

config.yaml, command     of the trainer: settings, seed; the command that trained it
train.log, log.csv       epochs and losses of ESPnet's trainer; steps of `imlspike train-vocoder`
decode_MODE/SET/         score.json of `imlspike score`; pieces/N/text.json of `imlspike decode`: what it took
profile/                 energy.json and spikes.json of `imlspike profile`
alignment/               alignment.json of `imlspike score --labels`; the last two of another model file than
                         the experiment's own: profile_STEM/, alignment_STEM/
"""

import json
import os
import platform
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from imlspike.data.files import read_kaldi
from imlspike.data.model_files import criterion, suffix
from imlspike.data.origin import origin
from imlspike.data.yaml_file import read_yaml
from imlspike.evaluation.energy import FIGURES
from imlspike.evaluation.error_rates import RATES
from imlspike.evaluation.training_log import training_costs, vocoder_costs
from imlspike.models.spikevoice_blocks import default_attention

# What makes a training of ESPnet's what it is: config.yaml without lists of symbols and a machine's paths.
SETTINGS = (
    "version token_type g2p cleaner feats_extract feats_extract_conf frontend frontend_conf specaug "
    "specaug_conf normalize pitch_extract pitch_extract_conf pitch_normalize energy_extract "
    "energy_extract_conf energy_normalize tts tts_conf encoder encoder_conf decoder decoder_conf model_conf "
    "optim optim_conf scheduler scheduler_conf grad_clip accum_grad batch_type batch_size batch_bins "
    "num_iters_per_epoch max_epoch patience best_model_criterion keep_nbest_models use_amp seed"
).split()
NONE = "none (ANN)"
_PATH = re.compile(r"(?<![\w.~/:])/(?:[^\s/:'\"]+/)+[^\s/:'\"]*")  # absolute, of two names at least


def gather(folder, model: str = "") -> dict:
    """Contents of the folder, energy and alignment those of the model file `model`; ready to be JSON.

    Missing files leave None or an empty list behind. "suffix" is what ends the names of that model
    file's folders.

    "kind" is "recognizer", "voice" or "vocoder", "model" what tables show of its settings ("neuron" among
    them is `NONE` for an ANN). ValueError: the folder has no config.yaml, or a file is broken; it is named.
    """
    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise ValueError(
            f"{folder}: no config.yaml; expected the folder of a trained recognizer, voice or vocoder"
        )
    config = read_yaml(folder / "config.yaml")
    kind = "vocoder" if "generator" in config else "voice" if "tts_conf" in config else "recognizer"
    settings, seed, training = config, (config.get("trainer") or {}).get("seed"), folder / "log.csv"
    if kind != "vocoder":
        settings = {key: config[key] for key in SETTINGS if config.get(key) not in (None, {})}
        seed, training = config.get("seed"), folder / "train.log"
    command, end = folder / "command", suffix(config, Path(model).name)
    profile = folder / f"profile{end}"
    scores = [_score(path, config) for path in sorted(folder.glob("decode_*/*/score.json"))]
    words = config.get("token_type") != "phn" and all(score["size"]["words"] for score in scores)
    return {
        "name": folder.name,
        "kind": kind,
        "model": _model(kind, config),
        "seed": seed,
        "command": command.read_text(encoding="utf-8").strip() if command.is_file() else "",
        "config": settings,
        "training": vocoder_costs(training) if kind == "vocoder" else training_costs(training),
        "averaged": _averaged(folder, config),
        "training_set": size_of(_training_dirs(config), words),
        "scores": scores,
        "suffix": end,
        "energy": _energy(profile / "energy.json"),
        "layers": read_json(profile / "spikes.json") or [],
        "alignment": read_json(folder / f"alignment{end}" / "alignment.json"),
    }


def read_json(path: Path):
    """The content of a JSON file; None where there is no such file. ValueError, with its name: not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); delete it and make it again") from None


def _energy(path: Path) -> dict | None:
    found = read_json(path)
    if found and found.get("figures", {}).keys() != FIGURES.keys():
        raise ValueError(
            f"{path}: counted by an earlier version, with other figures; profile the model again"
        )

    return found


def _model(kind: str, config: Mapping) -> dict:
    """The settings that tell models of a kind apart, by the heads of a table."""
    if kind == "recognizer":
        return {"encoder": str(config.get("encoder") or ""), "decoder": str(config.get("decoder") or "")}
    options = config["generator"] if kind == "vocoder" else config["tts_conf"]
    neuron = options.get("neuron", "plif" if kind == "vocoder" else "lif")
    spiking = neuron != "none"
    shown = {"neuron": neuron if spiking else NONE, "T": str(options.get("steps", 4)) if spiking else ""}
    if kind == "voice":
        return shown | {"attention": options.get("attention") or default_attention(neuron)}
    shift = options.get("temporal_shift", "off") if spiking else ""
    return shown | {"temporal shift": shift, "teacher": Path(config.get("teacher") or "").name}


def size_of(data_dirs: Sequence[Path], words: bool = True, among: Collection[str] = ()) -> dict | None:
    """Utterances, seconds and, where texts have `words`, these, of data directories; None where a table
    (utt2dur, text) or one of the utterances `among` is not there."""
    tables = [[folder / name for folder in data_dirs] for name in ("utt2dur", "text")]
    if not data_dirs or not all(file.is_file() for files in tables for file in files):
        return None
    durations, texts = (
        [value for file in files for key, value in read_kaldi(file).items() if not among or key in among]
        for files in tables
    )
    if among and not len(durations) == len(texts) == len(among):
        return None  # another set of that name, seen from another folder
    said = sum(len(text.split()) for text in texts) if words else None
    return {"utterances": len(durations), "seconds": sum(map(float, durations)), "words": said}


def _training_dirs(config: Mapping) -> list[Path]:
    """The data directories that a model was trained on, as its configuration names them."""
    files = config.get("train_data_path_and_name_and_type") or []
    named = dict.fromkeys(Path(file[0]).parent for file in files if file[0].endswith("wav.scp"))
    return [*named, *map(Path, config.get("train_dirs") or [])]


def _averaged(folder: Path, config: Mapping) -> dict | None:
    """Of how many epochs ESPnet's averaged model is an average, and their criterion; None without one."""
    phase, key, best = criterion(config)
    counts = [re.search(r"ave_(\d+)best", file.name) for file in folder.glob(f"{phase}.{key}.ave_*best.pth")]
    epochs = max((int(found[1]) for found in counts if found), default=None)
    return epochs and {"epochs": epochs, "criterion": f"{best} {phase} {key}"}


def unknown_share(texts: Iterable[str], tokens: Iterable[str]) -> float | None:
    """Share of the characters, blanks aside, that occur in no token of a list; None without a character.

    >>> unknown_share(["ab c", "u"], ["<blank>", "<unk>", "a", "bc", "<sos/eos>"])
    0.25
    """
    known = set("".join(token for token in tokens if not re.fullmatch("<.+>", token)))
    characters = "".join("".join(text.split()) for text in texts)
    return sum(c not in known for c in characters) / len(characters) if characters else None


def _score(path: Path, config: Mapping) -> dict:
    """A score.json with its decoding, its set, the set's size, the share of its characters that the model
    does not know, and what all processes of the decoding took together."""
    score, speed = read_json(path), None
    if not isinstance(score, dict) or not score.keys() & set(RATES):
        raise ValueError(f"{path}: not what `imlspike score` writes; delete it and score again")
    if pieces := [read_json(piece) for piece in path.parent.glob("pieces/*/text.json")]:
        speed = {key: sum(piece[key] for piece in pieces) for key in ("audio_seconds", "seconds")}
        speed["processes"] = len(pieces)
    decoding = path.parent.parent.name.removeprefix("decode_")
    scored, tokens = score.get("per_utterance") or {}, config.get("token_list")
    # The decoding knows the seconds, the score the words, where the data directory isn't there.
    known = {"utterances": len(scored), "seconds": speed["audio_seconds"] if speed else None}
    words = score.get("characters_include_space", False)  # without, a "word" is a whole sentence
    known["words"] = sum(one["wer"][1] for one in scored.values()) if words else None
    reference, unknown = Path(score.get("reference", "")), None
    texts = read_kaldi(reference) if reference.is_file() else {}
    if tokens and config.get("token_type") in ("char", "bpe") and scored.keys() <= texts.keys():
        unknown = unknown_share((texts[key] for key in scored), tokens)
    size = size_of([reference.parent], words, scored) or known
    told = {"decoding": decoding, "set": path.parent.name, "speed": speed, "size": size, "unknown": unknown}
    return told | score


def surroundings() -> dict:
    """Versions, state of the source and machine, for the record."""
    made = origin("", "espnet", "jiwer")
    affinity = hasattr(os, "sched_getaffinity")
    return {
        "versions": made["versions"],
        "git": made["git"],
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if affinity else os.cpu_count(),
        "system": platform.platform(),
    }


def made_on(about: Mapping) -> list[str]:
    """The lines of versions and machine of what `surroundings` gave."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    machine = f"{about['cpu']}, {about['cores']} cores, {about['system']}"
    return [f"- versions: {versions}", f"- machine: {machine}"]


def _cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def portable(value):
    """The same strings, lists and mappings without the paths of a machine: a path below the current folder as
    it is from there, of any other its last name. A "command" stays as it was given, to be run again.

    >>> portable({"folder": "/data/me/exp/lif", "unit": "µJ/s", "command": "./run.sh --corpus /data/x/y.tgz"})
    {'folder': 'lif', 'unit': 'µJ/s', 'command': './run.sh --corpus /data/x/y.tgz'}
    """
    if isinstance(value, Mapping):
        return {key: item if key == "command" else portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    return _PATH.sub(_without_place, value) if isinstance(value, str) else value


def _without_place(found: re.Match) -> str:
    path = Path(found[0])
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name
