"""Everything that trained experiments came to, in one table: error rates, training cost, spikes, energy.

An experiment is a folder as the recipe leaves it:

==========================================  ======================================================
config.yaml, train.log                      of ESPnet's trainer
command                                     that trained it
decode_<mode>/<set>/score.json              of `imlspike score`
decode_<mode>/<set>/pieces/<n>/text.json    of `imlspike decode`, what it took
profile/energy.json                         of `imlspike profile`
==========================================  ======================================================

The ANN twin of `quick` is `quick_ann`, beside it.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imlspike.analysis.energy import FIGURES, verdict
from imlspike.analysis.training_log import peak_memory_mb, read_epochs
from imlspike.data.yaml_file import read_yaml

TWIN = "_ann"
MEASURES = ("cer", "wer")


def gather(folder) -> dict:
    """What one experiment folder holds; ready to be JSON. Missing files leave None or an empty list behind.

    Raises:
        ValueError: the folder has no config.yaml.
    """
    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"{folder}: no config.yaml; expected the folder of an ESPnet experiment")
    config = read_yaml(folder / "config.yaml")
    scores = []
    for path in sorted(folder.glob("decode_*/*/score.json")):
        mode, test_set = path.parent.parent.name.removeprefix("decode_"), path.parent.name
        score = {"decoding": mode, "set": test_set, "speed": _speed(path.parent)}
        scores.append(score | _read(path))
    return {
        "name": folder.name,
        "encoder": config.get("encoder"),
        "seed": config.get("seed"),
        "command": (folder / "command").read_text().strip() if (folder / "command").is_file() else "",
        "training": training_costs(folder / "train.log"),
        "scores": scores,
        "energy": _read(folder / "profile" / "energy.json"),
    }


def _speed(folder):
    """What all processes of a decoding took together."""
    pieces = [_read(path) for path in folder.glob("pieces/*/text.json")]
    sums = {key: sum(piece[key] for piece in pieces) for key in ("audio_seconds", "seconds")}
    return sums | {"processes": len(pieces)} if pieces else None


def _read(path):
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def training_costs(log: Path) -> dict | None:
    """What a training took, by its `train.log`: epochs, time, memory; None without a log of an epoch."""
    epochs = read_epochs(log) if log.is_file() else []
    if not epochs:
        return None
    seconds = [epoch["train"]["seconds"] for epoch in epochs]
    gpu = [
        epoch["train"]["gpu_max_cached_mem_GB"]
        for epoch in epochs
        if "gpu_max_cached_mem_GB" in epoch["train"]
    ]
    return {
        "epochs": len(epochs),
        "seconds_per_epoch": statistics.median(seconds),
        "hours": sum(sum(phase["seconds"] for phase in e.values() if isinstance(phase, dict)) for e in epochs)
        / 3600,
        "peak_memory_mb": peak_memory_mb(log),
        "gpu_memory_gb": max(gpu) if gpu else None,
    }


def compare(
    experiments: list[dict], measure: str = "cer", resamples: int = 10000, seed: int = 0
) -> list[dict]:
    """Each spiking experiment beside its twin: ratios of errors (with a paired interval), of time and of
    memory; energy.

    Args:
        measure: the errors that are compared, "cer" or "wer".

    An interval that holds 1 means that these test sentences don't tell the two apart.
    """
    named = {experiment["name"]: experiment for experiment in experiments}
    comparisons = []
    for experiment in experiments:
        twin = named.get(experiment["name"] + TWIN)
        if twin is None:
            continue
        comparison = {"name": experiment["name"], "twin": twin["name"], "errors": [], "energy": None}
        for score in experiment["scores"]:
            other = [
                s for s in twin["scores"] if (s["decoding"], s["set"]) == (score["decoding"], score["set"])
            ]
            if other:
                ratio, low, high = error_ratio(score, other[0], measure, resamples, seed)
                where = {"decoding": score["decoding"], "set": score["set"], "measure": measure}
                comparison["errors"].append(where | {"ratio": ratio, "ci95": [low, high]})
        for key in ("seconds_per_epoch", "peak_memory_mb"):
            ours, theirs = ((e["training"] or {}).get(key) for e in (experiment, twin))
            comparison[key] = ours / theirs if ours and theirs else None
        if experiment["energy"] and twin["energy"]:
            scopes = ("encoder", "model")
            comparison["energy"] = {s: verdict(experiment["energy"][s], twin["energy"][s]) for s in scopes}
        comparisons.append(comparison)
    return comparisons


def error_ratio(
    score: dict, twin: dict, measure: str = "cer", resamples: int = 10000, seed: int = 0
) -> tuple[float, float, float]:
    """CER or WER (`measure`) of one score.json over that of another on the same utterances, and its 95 %
    interval.

    The same utterances are drawn for both (a paired bootstrap): what makes a sentence hard for both cancels.

    Raises:
        ValueError: they do not hold the same utterances.
    """
    ours, theirs = score["per_utterance"], twin["per_utterance"]
    if ours.keys() != theirs.keys():
        odd = sorted(ours.keys() ^ theirs.keys())[0]
        raise ValueError(
            f"{score['hypothesis']} and {twin['hypothesis']} were scored on other utterances: {odd}"
        )
    pairs = [[ours[u][measure][0], theirs[u][measure][0]] for u in sorted(ours)]
    errors = np.array(pairs, dtype=np.float64)
    generator = np.random.default_rng(seed)
    totals = np.array(
        [errors[generator.integers(len(errors), size=len(errors))].sum(0) for _ in range(resamples)]
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # a twin without errors: an infinite ratio
        ratios = totals[:, 0] / totals[:, 1]
        ratio = errors[:, 0].sum() / errors[:, 1].sum()
    low, high = np.nanquantile(ratios, [0.025, 0.975], method="nearest")
    return float(ratio), float(low), float(high)


def columns(measure: str = "cer", spaces: bool = True) -> list[str]:
    """The heads of the table: the error rate that counts comes first. Without spaces in the text a "word" is
    a whole sentence.

    >>> columns("wer")[3:7]
    ['WER %', 'CER %', 'WER / twin', 'RTF']
    """
    heads = {"cer": "CER", "wer": "WER" if spaces else "sentences wrong"}
    rates = [f"{heads[m]} %" for m in sorted(MEASURES, key=lambda m: m != measure)]
    costs = ["epochs", "s / epoch", "memory MB", "parameters", "spikes"]
    energy = [f"µJ/s {figure}" for figure in FIGURES]
    return ["model", "decoding", "set", *rates, f"{heads[measure]} / twin", "RTF", *costs, *energy]


def table(experiments: list[dict], comparisons: list[dict], measure: str = "cer") -> str:
    """The Markdown table: a line for each decoding of each set; what belongs to an experiment stands in its
    first."""
    against = {(c["name"], r["decoding"], r["set"]): r for c in comparisons for r in c["errors"]}
    spaces = all(s["characters_include_space"] for e in experiments for s in e["scores"])
    lines = []
    for experiment in experiments:
        costs = _costs(experiment)
        for score in experiment["scores"] or [None]:
            cells = [experiment["name"], *[""] * 6]
            if score:
                ratio = against.get((experiment["name"], score["decoding"], score["set"]))
                cells[1:3] = score["decoding"], score["set"]
                cells[3:5] = (_rate(score[m]) for m in sorted(MEASURES, key=lambda m: m != measure))
                cells[5] = _ratio(ratio) if ratio else ""
                cells[6] = f"{real_time_factor(score['speed']):.3g}" if score["speed"] else ""
            lines.append(cells + costs)
            costs = [""] * len(costs)
    return aligned(columns(measure, spaces), lines)


def real_time_factor(speed: dict) -> float:
    """Seconds that a process works on a second of audio.

    >>> real_time_factor({"audio_seconds": 100.0, "seconds": 20.0})
    0.2
    """
    return speed["seconds"] / speed["audio_seconds"]


def aligned(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose cells stand under each other.

    >>> print(aligned(["a", "b"], [["long", ""]]))
    | a    | b |
    | ---- | - |
    | long |   |
    """
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (columns, rule, *lines)
    )


def _ratio(row):
    return f"{row['ratio']:.2f} ({row['ci95'][0]:.2f} to {row['ci95'][1]:.2f})"


def _rate(row):
    low, high = row["ci95"]
    return f"{100 * row['rate']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _costs(experiment):
    training, energy = experiment["training"], experiment["energy"]
    cells = [""] * 8
    if training:
        memory = training["peak_memory_mb"]
        cells[:3] = (
            str(training["epochs"]),
            f"{training['seconds_per_epoch']:.3g}",
            str(memory) if memory else "",
        )
    if energy:
        cells[3] = f"{energy['parameters']['model'] / 1e6:.2f} M"
        cells[4] = f"{energy['mean_count']:.2f}" if energy["mean_count"] is not None else ""
        cells[5:] = (f"{energy['encoder'][f]:.3g} / {energy['model'][f]:.3g}" for f in FIGURES)
    return cells


def sentences(comparisons: list[dict]) -> list[str]:
    """What the comparisons say, a sentence each."""
    said = []
    for c in comparisons:
        costs = []
        for key, what in (("seconds_per_epoch", "an epoch takes"), ("peak_memory_mb", "its memory is")):
            if c[key]:
                costs.append(f"{what} {c[key]:.2f} times the twin's")
        if costs:
            said.append(f"{c['name']}: training: {', '.join(costs)}.")
        for scope, sentence in (c["energy"] or {}).items():
            said.append(f"{c['name']}: energy of the {scope}: {sentence}.")
    return said
