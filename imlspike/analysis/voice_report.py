"""What voices came to, for one report: training, firing rates and energy by module, the aims of the project.

Read from files only: scores.json of `imlspike score-voice`, and of each experiment's folder

========================  =========================================================================
config.yaml               of ESPnet's trainer; train.log beside it
voice.yaml, command       of the recipe: front end and speakers; the command that trained it
profile/energy.json       of `imlspike profile`; profile/spikes.json beside it
alignment/alignment.json  of `imlspike score-alignment`
========================  =========================================================================
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from imlspike.analysis.alignment_scores import boundaries_table
from imlspike.analysis.energy import FIGURES
from imlspike.analysis.report_parts import EMPTY, energy_sentences, percent, range_sentences, read_json
from imlspike.analysis.results import aligned, training_costs
from imlspike.analysis.training_log import read_epochs
from imlspike.analysis.vocoder_scores import NATURAL
from imlspike.analysis.vocoder_table import SHOWN
from imlspike.data.yaml_file import read_yaml
from imlspike.models.spikevoice_blocks import default_attention

# What makes a training what it is: of config.yaml without its lists of symbols and the paths of a machine.
SETTINGS = (
    "version token_type g2p cleaner feats_extract feats_extract_conf normalize pitch_extract "
    "pitch_extract_conf pitch_normalize energy_extract energy_extract_conf energy_normalize tts tts_conf "
    "optim optim_conf scheduler scheduler_conf grad_clip accum_grad batch_type batch_size batch_bins "
    "num_iters_per_epoch max_epoch patience best_model_criterion keep_nbest_models use_amp seed"
).split()
LOSSES = {"mel_post": "mel", "duration": "duration", "pitch": "pitch", "energy": "energy"}
NEURON, STEPS = "lif", 4  # SpikeVoice's own defaults
CER_LIMIT = 0.15  # by how much a voice's error rate may exceed that of the ceiling
BOUNDARY_LIMIT = 40  # ms, of the median boundary
_PATH = re.compile(r"(?<![\w.~/:])/(?:[^\s/:'\"]+/)+[^\s/:'\"]*")  # absolute, of two names at least
PAPER = "the paper's figure for its own model, by its own reckoning, is 10.5 %"


def gather(folder) -> dict:
    """What one experiment's folder holds; ready to be JSON. Missing files leave None or nothing behind.

    Raises:
        ValueError: the folder has no config.yaml, or that of something else than a voice.
    """
    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"{folder}: no config.yaml; expected a voice that ESPnet's trainer trained")
    config = read_yaml(folder / "config.yaml")
    if not isinstance(config, dict) or "tts_conf" not in config:
        raise ValueError(f"{folder}/config.yaml: no tts_conf; this is no voice")
    command, voice = folder / "command", folder / "voice.yaml"
    return {
        "name": folder.name,
        "neuron": config["tts_conf"].get("neuron", NEURON),
        "config": {key: config[key] for key in SETTINGS if config.get(key) not in (None, {})},
        "voice": read_yaml(voice) if voice.is_file() else {},
        "symbols": len(config.get("token_list") or []),
        "command": command.read_text(encoding="utf-8").strip() if command.is_file() else "",
        "training": _training(folder / "train.log"),
        "energy": read_json(folder / "profile" / "energy.json"),
        "layers": read_json(folder / "profile" / "spikes.json") or [],
        "alignment": read_json(folder / "alignment" / "alignment.json"),
    }


def _training(log):
    costs = training_costs(log) if log.is_file() else None
    if costs is None:
        return None
    epochs = read_epochs(log)
    valid = [epoch for epoch in epochs if math.isfinite(epoch.get("valid", {}).get("loss", math.nan))]
    best = min(valid, key=lambda epoch: epoch["valid"]["loss"], default=None)
    return costs | {
        "steps": int(epochs[-1]["train"].get("total_count", 0)) or None,
        "best_epoch": best and best["epoch"],
        "valid": best and {key: value for key, value in best["valid"].items() if key.endswith("loss")},
    }


def training_table(experiments: Sequence[Mapping]) -> str:
    """Neuron, attention, steps, time and the losses of the best epoch of each training."""
    lines = []
    for e in experiments:
        options, training = e["config"].get("tts_conf", {}), e["training"]
        spiking = e["neuron"] != "none"
        cells = [e["name"], e["neuron"] if spiking else "none (ANN)"]
        cells += [str(options.get("steps", STEPS)) if spiking else ""]
        cells += [options.get("attention") or default_attention(e["neuron"])]
        cells += [str(e["config"].get("seed", ""))]
        if training:
            memory, losses = training["peak_memory_mb"], training["valid"] or {}
            cells += [str(training["epochs"]), str(training["steps"] or "")]
            cells += [f"{training['seconds_per_epoch']:.3g}", f"{training['hours']:.2f}"]
            cells += [str(memory or ""), str(training["best_epoch"] or "")]
            cells += [_number(losses.get(f"{key}_loss")) for key in LOSSES]
        lines.append(cells + [""] * (11 + len(LOSSES) - len(cells)))
    heads = ["model", "neuron", "T", "attention", "seed", "epochs", "steps", "s / epoch", "hours"]
    return aligned([*heads, "memory MB", "best epoch", *LOSSES.values()], lines)


def _number(value):
    return EMPTY if value is None else f"{value:.3f}"


def energy_table(experiments: Sequence[Mapping], twin: str | None) -> str:
    """Firing rate, parameters, the three figures with their share of the ANN's, time; a line a model."""
    energies = {e["name"]: e["energy"] for e in experiments if e["energy"]}
    base = energies.get(twin)
    lines = []
    for name, energy in energies.items():
        cells = [name, str(energy["steps"] or ""), percent(energy["firing_rate"])]
        cells += [percent(energy["layer_rate"]), f"{energy['parameters']['model'] / 1e6:.2f} M"]
        for figure in FIGURES:
            cells.append(f"{energy['model'][figure]:.4g}")
            if figure != "int8":
                cells.append(percent(base and energy["model"][figure] / base["model"][figure]))
        cells.append(f"{energy['speed']['seconds_per_second']:.3g}" if "speed" in energy else EMPTY)
        cells.append(f"{energy['seconds']:.1f}")
        lines.append(cells)
    heads = ["model", "T", "firing rate", "mean of layers", "parameters", "µJ/s paper", "share of the ANN's"]
    return aligned([*heads, "µJ/s full", "share of the ANN's", "µJ/s int8", "s per s", "speech, s"], lines)


def modules_table(experiments: Sequence[Mapping]) -> str:
    """Of each module and model the firing rate (without one for an ANN) and the energy "paper" / "full"."""
    measured = [e for e in experiments if e["energy"]]
    modules = dict.fromkeys(module for e in measured for module in e["energy"]["modules"])
    lines = []
    for module in modules:
        cells = [module]
        for e in measured:
            energy = e["energy"]
            if module not in energy["modules"]:
                cells.append("")
                continue
            rate, part = energy["modules"][module]["rate"], energy["parts"][module]
            fires = "" if rate is None else f"{percent(rate)}: "
            cells.append(f"{fires}{part['paper']:.4g} / {part['full']:.4g}")
        lines.append(cells)
    return aligned(["module", *(e["name"] for e in measured)], lines) if lines else ""


def sentences(experiments: Sequence[Mapping], twin: str | None) -> list[str]:
    """What is to be said of training, firing rates and energy, a sentence each."""
    said = []
    trained = {e["name"]: e["training"] for e in experiments if e["training"]}
    energies = {e["name"]: e["energy"] for e in experiments if e["energy"]}
    for name, training in trained.items():
        if twin in trained and name != twin:
            times = training["seconds_per_epoch"] / trained[twin]["seconds_per_epoch"]
            said.append(f"{name}: an epoch takes {times:.2f} times the ANN's.")
    said += range_sentences(experiments) + energy_sentences(experiments, twin)
    for name, energy in energies.items():
        if twin in energies and name != twin:
            share = energy["model"]["paper"] / energies[twin]["model"]["paper"]
            maps = f"{name}: linear maps and convolutions take {percent(share)} of the ANN's energy"
            said.append(f"{maps}; {PAPER}.")
    return said


def alignment_table(experiments: Sequence[Mapping]) -> str:
    """Boundary errors of each voice's aligner; empty where none was scored."""
    scored = {f"{e['name']}: {e['alignment']['set']}": e["alignment"] for e in experiments if e["alignment"]}
    return boundaries_table(scored) if scored else ""


def synthesis_table(scores: Mapping) -> str:
    """How each system spoke: mode, model, vocoder, time; empty where no system came with a synthesis.yaml."""
    lines = []
    for name, entry in scores["systems"].items():
        if about := entry["synthesis"]:
            cells = [name, about["mode"], about["model"], about["vocoder"], str(about["utterances"])]
            lines.append([*cells, _number(about["computing_per_second_of_audio"])])
    return aligned(["system", "mode", "model", "vocoder", "utterances", "s per s"], lines) if lines else ""


def aims(scores: Mapping, experiments: Sequence[Mapping]) -> list[str]:
    """Whether the voices are as intelligible, and the alignment as near, as the project wants them."""
    said = []
    ceiling = scores["ceiling"] or NATURAL
    for name, entry in scores["systems"].items():
        if entry["cer"] and name not in (NATURAL, ceiling):
            more, ends = entry["cer"]["over"], entry["cer"]["over_ci95"]
            within = "within" if more <= CER_LIMIT else "NOT within"
            interval = f"{100 * ends[0]:+.1f} to {100 * ends[1]:+.1f}"
            said.append(
                f"{name}: character error rate {100 * more:+.1f} points over {SHOWN.get(ceiling, ceiling)} "
                f"({interval}), {within} {100 * CER_LIMIT:g} points."
            )
    for e in experiments:
        if e["alignment"]:
            median = e["alignment"]["median_ms"]
            within = "at most" if median <= BOUNDARY_LIMIT else "MORE than"
            said.append(
                f"{e['name']}: the median boundary is {median:.1f} ms off, {within} {BOUNDARY_LIMIT} ms."
            )
    return said


def portable(value):
    """The same strings, lists and mappings without the paths of a machine: a path below the current folder as
    it is from there, of any other its last name.

    >>> portable({"folder": "/data/me/exp/lif", "command": "./run.sh --corpus /data/x/y.tgz --energy 3 µJ/s"})
    {'folder': 'lif', 'command': './run.sh --corpus y.tgz --energy 3 µJ/s'}
    """
    if isinstance(value, Mapping):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    return _PATH.sub(_without_place, value) if isinstance(value, str) else value


def _without_place(found: re.Match) -> str:
    path = Path(found[0])
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name
