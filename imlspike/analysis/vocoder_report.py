"""What vocoders came to, for one report: differences to the twin, firing rates, energy, what was trained.

Read from files only: scores.json of `imlspike score-vocoder`, and of each experiment's folder

===================  ==========================================================
config.yaml          of `imlspike train-vocoder`: settings, seed, versions
log.csv              steps and seconds of the training
profile/energy.json  of `imlspike profile`; profile/spikes.json beside it
===================  ==========================================================

An experiment belongs to the system of its folder's name in scores.json.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from imlspike.analysis.energy import verdict
from imlspike.analysis.results import aligned
from imlspike.analysis.vocoder_measures import MEASURES
from imlspike.analysis.vocoder_profile import LEAST_RATE, MOST_RATE
from imlspike.analysis.vocoder_scores import NATURAL
from imlspike.analysis.vocoder_table import EMPTY

CER_LIMIT = 0.05  # by how much the error rate on synthesised speech may exceed that on natural speech


def gather(folder) -> dict:
    """What one experiment's folder holds; ready to be JSON. Missing files leave None behind.

    Raises:
        ValueError: the folder has no config.yaml.
    """
    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"{folder}: no config.yaml; expected an experiment of `imlspike train-vocoder`")
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return {
        "name": folder.name,
        "config": config,
        "training": _training(folder / "log.csv"),
        "energy": _json(folder / "profile" / "energy.json"),
        "layers": _json(folder / "profile" / "spikes.json") or [],
    }


def _json(path):
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _training(path):
    if not path.is_file():
        return None
    with open(path, encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    if not rows:
        return None
    mels = [float(row["valid_mel"]) for row in rows if row["valid_mel"]]
    counts = {key: int(rows[-1][key]) for key in ("step", "discriminator_steps")}
    return counts | {"seconds": float(rows[-1]["seconds"]), "valid_mel": mels[-1] if mels else None}


def twin_table(scores: Mapping) -> str:
    """The differences of each system to the ANN twin, as a Markdown table; empty without a twin."""
    keys = [key for key in scores["measures"] if key not in scores["left_out"]]
    lines = []
    for name, entry in scores["systems"].items():
        gaps = [entry["scores"][key]["to_twin"] for key in keys]
        if name != NATURAL and any(gaps):
            lines.append(
                [name, *(_gap(gap, MEASURES[key].digits) for gap, key in zip(gaps, keys, strict=True))]
            )
    heads = [f"{MEASURES[key].title} {'↑' if MEASURES[key].higher else '↓'}" for key in keys]
    return aligned([f"minus {scores['twin']}", *heads], lines) if lines else ""


def _gap(gap, digits):
    if not gap or gap["mean"] is None:
        return EMPTY
    mean, low, high = (f"{value:+.{digits}f}" for value in (gap["mean"], *gap["ci95"]))
    return f"{mean} ({low} to {high})"


def energy_table(experiments: Sequence[Mapping], twin: str | None) -> str:
    """Firing rate, energy by the paper's equations, the three counted figures, time; a line a model."""
    energies = {e["name"]: e["energy"] for e in experiments if e["energy"]}
    base = (energies.get(twin) or {}).get("table_3")
    lines = []
    for name, energy in energies.items():
        table_3 = energy["table_3"]
        cells = [
            name,
            str(energy["steps"] or ""),
            _percent(energy["firing_rate"]),
            _percent(energy["layer_rate"]),
        ]
        cells += [f"{energy['parameters']['model'] / 1e6:.2f} M"]
        cells += [f"{table_3[scope] / 1e9:.3g}" if table_3 else EMPTY for scope in ("blocks", "model")]
        shares = [table_3[s] / base[s] if table_3 and base else None for s in ("blocks", "model")]
        cells += [" / ".join(_percent(share) for share in shares)]
        for figure in ("paper", "full", "int8"):
            cells.append(" / ".join(f"{energy[scope][figure]:.4g}" for scope in ("backbone", "model")))
        cells.append(f"{energy['speed']['seconds_per_second']:.3g}")
        lines.append(cells)
    heads = [
        "model",
        "T",
        "firing rate",
        "mean of layers",
        "parameters",
        "eqs 15, 16: 1e9 pJ",
        "with ends: 1e9 pJ",
    ]
    heads += ["share of the ANN's", "µJ/s paper", "µJ/s full", "µJ/s int8", "s per s"]
    return aligned(heads, lines)


def _percent(share):
    return EMPTY if share is None else f"{100 * share:.1f} %"


def rates_table(experiments: Sequence[Mapping]) -> str:
    """Firing rate of every neuron layer in %, a column a model; "!" marks those out of range."""
    spiking = [e for e in experiments if e["layers"]]
    rates = {e["name"]: {layer["name"]: layer["rate"] for layer in e["layers"]} for e in spiking}
    layers = list(dict.fromkeys(name for e in spiking for name in rates[e["name"]]))
    lines = []
    for layer in layers:
        cells = [layer.removeprefix("backbone.")]
        for e in spiking:
            rate = rates[e["name"]].get(layer)
            odd = rate is not None and not LEAST_RATE < rate < MOST_RATE
            cells.append("" if rate is None else f"{100 * rate:.1f}{' !' if odd else ''}")
        lines.append(cells)
    return aligned(["layer", *rates], lines) if lines else ""


def sentences(experiments: Sequence[Mapping], scores: Mapping) -> list[str]:
    """What is to be said of firing rates, energy and intelligibility, a sentence each."""
    said = []
    for e in experiments:
        if e["energy"] and e["layers"]:
            odd = e["energy"]["rates_out_of_range"]
            bounds = f"{100 * LEAST_RATE:g} % and {100 * MOST_RATE:g} %"
            named = ", ".join(f"{name} ({_why(layer)})" for name, layer in odd.items())
            said.append(
                f"{e['name']}: outside {bounds} fire {len(odd)} of {len(e['layers'])} layers: {named}."
                if odd
                else f"{e['name']}: all {len(e['layers'])} neuron layers fire between {bounds}."
            )
    energies = {e["name"]: e["energy"] for e in experiments if e["energy"]}
    twin = energies.get(scores["twin"])
    for name, energy in energies.items():
        if twin and name != scores["twin"]:
            for scope in ("backbone", "model"):
                said.append(f"{name}: energy of the {scope}: {verdict(energy[scope], twin[scope])}.")
    for name, entry in scores["systems"].items():
        if entry["cer"] and name != NATURAL:
            more, ends = entry["cer"]["over_natural"], entry["cer"]["over_natural_ci95"]
            within = "within" if more <= CER_LIMIT else "NOT within"
            interval = f"{100 * ends[0]:+.1f} to {100 * ends[1]:+.1f}"
            said.append(
                f"{name}: character error rate {100 * more:+.1f} points over natural speech ({interval}), "
                f"{within} {100 * CER_LIMIT:g} points."
            )
    return said


def _why(layer):
    rate, largest, least = layer["rate"], layer["largest_input"], layer["least_that_fires"]
    if least is None or largest >= least:
        return f"{100 * rate:.2f} %"
    return f"{100 * rate:.2f} %: its largest input, {largest:.3g}, is below {least:.3g}, the least that fires"


def training_table(experiments: Sequence[Mapping]) -> str:
    """Neuron, options, steps, time and final mel distance of each training."""
    lines = []
    for e in experiments:
        generator, training = e["config"]["generator"], e["training"]
        neuron = generator.get("neuron", "plif")
        spiking = neuron != "none"
        cells = [
            e["name"],
            neuron if spiking else "none (ANN)",
            str(generator.get("steps", 4)) if spiking else "",
        ]
        cells.append(generator.get("temporal_shift", "off") if spiking else "")
        cells.append(Path(e["config"].get("teacher") or "").name)
        cells.append(str((e["config"].get("trainer") or {}).get("seed", "")))
        if training:
            mel = training["valid_mel"]
            cells += [str(training["step"]), str(training["discriminator_steps"])]
            cells += [f"{training['seconds'] / 60:.1f}", EMPTY if mel is None else f"{mel:.3f}"]
        lines.append(cells + [""] * (10 - len(cells)))
    heads = ["model", "neuron", "T", "temporal shift", "teacher", "seed", "steps", "discriminator steps"]
    return aligned([*heads, "minutes", "validation mel"], lines)
