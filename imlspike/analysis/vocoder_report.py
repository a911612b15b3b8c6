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
from collections.abc import Mapping, Sequence
from pathlib import Path

from imlspike.analysis.report_parts import EMPTY, energy_sentences, percent, range_sentences, read_json
from imlspike.analysis.results import aligned
from imlspike.analysis.vocoder_scores import NATURAL
from imlspike.data.yaml_file import read_yaml

CER_LIMIT = 0.05  # by how much the error rate on synthesised speech may exceed that on natural speech


def gather(folder) -> dict:
    """What one experiment's folder holds; ready to be JSON. Missing files leave None behind.

    Raises:
        ValueError: the folder has no config.yaml.
    """
    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"{folder}: no config.yaml; expected an experiment of `imlspike train-vocoder`")
    config = read_yaml(folder / "config.yaml")
    return {
        "name": folder.name,
        "config": config,
        "training": _training(folder / "log.csv"),
        "energy": read_json(folder / "profile" / "energy.json"),
        "layers": read_json(folder / "profile" / "spikes.json") or [],
    }


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
            percent(energy["firing_rate"]),
            percent(energy["layer_rate"]),
        ]
        cells += [f"{energy['parameters']['model'] / 1e6:.2f} M"]
        cells += [f"{table_3[scope] / 1e9:.3g}" if table_3 else EMPTY for scope in ("blocks", "model")]
        shares = [table_3[s] / base[s] if table_3 and base else None for s in ("blocks", "model")]
        cells += [" / ".join(percent(share) for share in shares)]
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


def sentences(experiments: Sequence[Mapping], scores: Mapping) -> list[str]:
    """What is to be said of firing rates, energy and intelligibility, a sentence each."""
    said = range_sentences(experiments) + energy_sentences(experiments, scores["twin"])
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
