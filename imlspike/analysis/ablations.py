"""Ablations: what the runs of a list came to over seeds, in one table.

A run is an experiment folder as a recipe leaves it (see `imlspike.analysis.results`).
"""

import re
import statistics
from collections.abc import Iterable
from pathlib import Path

from imlspike.analysis.ablation_list import BASE, Run, turns
from imlspike.analysis.results import aligned, gather

COSTS = ("epochs", "seconds_per_epoch", "parameters", "mean_count")
_PARAMETERS = re.compile(r"Total Number of model parameters: (.+)")


def collect(runs: Iterable[Run], exp_dir, measure: str = "cer", decoding: str = "greedy") -> dict:
    """What the runs came to: ready to be JSON.

    A run counts as complete when it has a score of this `decoding` for every set that any run has.

    Args:
        runs: of `read_list`.
        exp_dir: folder of the experiments.
        measure: ``cer`` or ``wer``.
        decoding: as in ``decode_<decoding>/<set>/score.json``.

    Returns:
        ``sets``; ``runs``, what each complete one came to; ``rows``, one for each ablation with `spread` over
        seeds and `difference` to the base; ``incomplete``, the names of the other runs.
    """
    runs = list(runs)
    found = {run.name: _gather(Path(exp_dir) / run.name, measure, decoding) for run in runs}
    sets = sorted({name for result in found.values() for name in result["rates"]}, key=_validation_first)
    complete = [run for run in runs if sets and found[run.name]["rates"].keys() == set(sets)]
    rates = {name: {} for name in sets}
    for run in complete:
        for name in sets:
            rates[name].setdefault(run.ablation, {})[run.seed] = found[run.name]["rates"][name]
    rows = []
    for ablation, override in {run.ablation: run.override for run in complete}.items():
        results = [found[run.name] for run in complete if run.ablation == ablation]
        row = {"name": ablation, "turns": turns(override), "seeds": len(results), "sets": {}}
        for name in sets:
            own, base = rates[name][ablation], rates[name].get(BASE, {})
            row["sets"][name] = spread(own) | {"difference": None}
            if ablation != BASE and own.keys() & base.keys():
                row["sets"][name]["difference"] = difference(own, base)
        row |= {key: _middle(results, key) for key in ("seconds_per_epoch", "mean_count", "firing_rate")}
        row |= {key: results[0][key] for key in ("epochs", "parameters")}
        rows.append(row)
    return {
        "measure": measure,
        "decoding": decoding,
        "sets": sets,
        "rows": rows,
        "runs": [{"name": run.name, "seed": run.seed} | found[run.name] for run in complete],
        "incomplete": [run.name for run in runs if run not in complete],
    }


def _validation_first(name):
    return (not name.startswith(("valid", "dev")), name)


def _gather(folder, measure, decoding):
    """The figures of one run; without rates where it hasn't begun."""
    result = {"rates": {}, "errors": {}, "epochs": None, "seconds_per_epoch": None, "parameters": None}
    result |= {"mean_count": None, "firing_rate": None, "source": None}
    if not (folder / "config.yaml").is_file():
        return result
    try:
        experiment = gather(folder)
    except ValueError as error:
        hint = "delete what is broken in it and run the list again"
        raise ValueError(f"{folder} can't be read, {hint}: {error}") from error
    for score in experiment["scores"]:
        if score["decoding"] == decoding:
            row = score[measure]
            result["rates"][score["set"]] = 100 * row["rate"]
            result["errors"][score["set"]] = [row["errors"], row["reference_length"]]
    for key in ("epochs", "seconds_per_epoch"):
        result[key] = (experiment["training"] or {}).get(key)
    for key in ("mean_count", "firing_rate"):
        result[key] = (experiment["energy"] or {}).get(key)
    log, source = folder / "train.log", folder / "source.txt"
    if log.is_file():
        told = _PARAMETERS.findall(log.read_text(encoding="utf-8", errors="replace"))
        result["parameters"] = told[-1].strip() if told else None
    if source.is_file():
        result["source"] = source.read_text(encoding="utf-8").strip()
    return result


def _middle(results, key):
    values = [result[key] for result in results if result[key] is not None]
    return statistics.median(values) if values else None


def spread(rates: dict[int, float]) -> dict:
    """Mean, standard deviation (of a sample, n - 1) and range over seeds; one seed has no deviation: None.

    >>> found = spread({0: 50.0, 1: 52.0, 2: 54.0})
    >>> found["mean"], found["sd"], found["min"], found["max"]
    (52.0, 2.0, 50.0, 54.0)
    >>> print(spread({0: 50.0})["sd"])
    None
    """
    values = list(rates.values())
    return {
        "by_seed": {str(seed): rate for seed, rate in rates.items()},
        "mean": statistics.mean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
    }


def difference(rates: dict[int, float], base: dict[int, float]) -> dict:
    """`spread` of an ablation's rates less the base's, seed by seed, and whether it goes beyond the spread.

    ``beyond``: the mean of the paired differences is larger than their standard deviation; None with one
    seed in common. ``worse``: with how many seeds the ablation has the higher rate.

    >>> found = difference({0: 51.0, 1: 54.0}, {0: 50.0, 1: 51.0, 2: 58.0})
    >>> found["by_seed"], found["mean"], found["beyond"], found["worse"]
    ({'0': 1.0, '1': 3.0}, 2.0, True, 2)
    """
    found = spread({seed: rates[seed] - base[seed] for seed in rates if seed in base})
    beyond = None if found["sd"] is None else abs(found["mean"]) > found["sd"]
    return found | {"beyond": beyond, "worse": sum(value > 0 for value in found["by_seed"].values())}


def table(results: dict) -> str:
    """The Markdown table of what `collect` returns."""
    columns = ["ablation", "what it turns", "seeds"]
    for name in results["sets"]:
        columns += [f"{results['measure'].upper()} % {name}", f"less the base's, {name}"]
    columns += ["epochs", "s / epoch", "parameters", "spikes"]
    lines = []
    for row in results["rows"]:
        cells = [row["name"], row["turns"], str(row["seeds"])]
        for found in row["sets"].values():
            cells += [_rate_cell(found), _difference_cell(found["difference"])]
        for key, form in zip(COSTS, ("d", ".3g", "", ".2f"), strict=True):
            cells.append("" if row[key] is None else format(row[key], form))
        lines.append(cells)
    return aligned(columns, lines)


def _rate_cell(found):
    if found["sd"] is None:
        return f"{found['mean']:.1f} (one seed: no spread)"
    return f"{found['mean']:.1f} ± {found['sd']:.1f} ({found['min']:.1f} to {found['max']:.1f})"


def _difference_cell(found):
    if found is None:
        return ""
    if found["sd"] is None:
        return f"{found['mean']:+.1f} (one seed: no spread)"
    seeds = len(found["by_seed"])
    place = "beyond" if found["beyond"] else "within"
    shown = f"{found['mean']:+.1f} ± {found['sd']:.1f}, {place} the spread"
    return f"{shown}, worse in {found['worse']} of {seeds}"


def sentences(results: dict) -> list[str]:
    """What a reader has to know beside the table: the base's spread, unequal trainings, runs that miss."""
    said = []
    rows = {row["name"]: row for row in results["rows"]}
    for name, found in rows.get(BASE, {"sets": {}})["sets"].items():
        if found["sd"] is not None:
            span = found["max"] - found["min"]
            said.append(
                f"{name}: the seeds of the base lie up to {span:.1f} points apart; a difference of one seed "
                "that is not larger says nothing."
            )
    if rows and BASE not in rows:
        said.append("No run of the base is complete, so there is nothing to compare with.")
    epochs = {row["epochs"] for row in results["rows"]}
    if len(epochs) > 1:
        shown = ", ".join(f"{row['name']} {row['epochs']}" for row in results["rows"])
        said.append(f"THE RUNS WERE NOT TRAINED ALIKE, epochs: {shown}.")
    done, missing = len(results["runs"]), results["incomplete"]
    rest = f"; not yet: {' '.join(missing)}" if missing else ""
    said.append(f"{done} of {done + len(missing)} runs are complete{rest}.")
    return said
