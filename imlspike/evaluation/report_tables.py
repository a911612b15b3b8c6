"""Tables of a report, made of what `imlspike.evaluation.experiments.gather` found in experiments' folders."""

from collections.abc import Mapping, Sequence

from imlspike.evaluation.alignment import boundaries_table
from imlspike.evaluation.energy import FIGURES
from imlspike.evaluation.error_rates import RATES
from imlspike.evaluation.experiments import NONE
from imlspike.evaluation.spikes import LEAST_RATE, MOST_RATE
from imlspike.evaluation.tables import EMPTY, interval_cell, markdown_table, percent

Experiments = Sequence[Mapping]
COSTS = {
    "epochs": "d",
    "steps": "d",
    "discriminator_steps": "d",
    "seconds_per_epoch": ".3g",
    "hours": ".2f",
    "peak_memory_mb": "d",
    "best_epoch": "d",
}


def twins_of(experiments: Experiments, named: str | None = None) -> dict[str, str]:
    """Each spiking experiment's ANN twin among the experiments, by their names."""
    names = [e["name"] for e in experiments]
    anns = [e["name"] for e in experiments if e["model"].get("neuron") == NONE]
    found = {}
    for name in names:
        known = [twin for twin in (named, f"{name}_ann", *anns[:1]) if twin in names and twin != name]
        if known and name not in anns:
            found[name] = known[0]
    return found


def rates_heads(primary: str, spaces: bool) -> dict[str, str]:
    """The error rates by their keys, that which counts first. Without spaces a "word" is a whole sentence."""
    heads = {"cer": "CER", "wer": "WER" if spaces else "sentences wrong"}
    return {rate: heads[rate] for rate in sorted(RATES, key=lambda rate: rate != primary)}


def with_spaces(experiments: Experiments) -> bool:
    """Whether all error rates count the spaces between words."""
    return all(score["characters_include_space"] for e in experiments for score in e["scores"])


def rates_table(experiments: Experiments, comparisons: Sequence[Mapping] = (), primary: str = "cer") -> str:
    """Error rates of recognizers: a line for each decoding of each set."""
    against = {(c["name"], r["decoding"], r["set"]): r for c in comparisons for r in c["errors"]}
    heads, lines = rates_heads(primary, with_spaces(experiments)), []
    for e in experiments:
        for score in e["scores"]:
            cells = [e["name"], score["decoding"], score["set"]]
            cells += [interval_cell(score[rate]["rate"], score[rate]["ci95"], ".1f", 100) for rate in heads]
            gap, speed = against.get((e["name"], score["decoding"], score["set"])), score["speed"]
            cells.append(interval_cell(gap["ratio"], gap["ci95"], ".2f") if gap else "")
            lines.append([*cells, f"{speed['seconds'] / speed['audio_seconds']:.3g}" if speed else ""])
    columns = [
        "model",
        "decoding",
        "set",
        *(f"{head} %" for head in heads.values()),
        f"{heads[primary]} / twin",
        "RTF",
    ]
    return markdown_table(columns, lines)


def training_table(experiments: Experiments) -> str:
    """Model, seed, steps, time, memory and validation losses of each training; columns that none has are left
    out."""
    rows = []
    for e in experiments:
        training = e["training"] or {}
        costs = {key.replace("_", " "): _number(training.get(key), form) for key, form in COSTS.items()}
        losses = {
            key.replace("_", " "): _number(value, ".3f") for key, value in training.get("valid", {}).items()
        }
        rows.append({"model": e["name"], **e["model"], "seed": _number(e["seed"], ""), **costs, **losses})
    heads = [
        head for head in dict.fromkeys(h for row in rows for h in row) if any(row.get(head) for row in rows)
    ]
    return markdown_table(heads, [[row.get(head, "") for head in heads] for row in rows])


def _number(value, form: str) -> str:
    return "" if value is None else format(value, form)


def energy_table(experiments: Experiments, twin: str | None = None) -> str:
    """Firing rate, parameters, the three figures with their share of the ANN's, time; a line a model."""
    energies, twins = (
        {e["name"]: e["energy"] for e in experiments if e["energy"]},
        twins_of(experiments, twin),
    )
    equations = any(energy.get("table_3") for energy in energies.values())
    lines = []
    for name, energy in energies.items():
        base, scope = energies.get(twins.get(name)), energy.get("scope", "encoder")
        cells = [
            name,
            str(energy.get("steps") or ""),
            percent(energy["firing_rate"]),
            percent(energy.get("layer_rate")),
        ]
        cells += [_number(energy["mean_count"], ".2f"), f"{energy['parameters']['model'] / 1e6:.2f} M"]
        if equations:
            own, other = energy.get("table_3"), (base or {}).get("table_3")
            for part in ("blocks", "model"):
                share = f" ({percent(own[part] / other[part])})" if own and other else ""
                cells.append(f"{own[part] / 1e9:.3g}{share}" if own else EMPTY)
        for figure in FIGURES:
            cells.append(f"{energy[scope][figure]:.4g} / {energy['model'][figure]:.4g}")
            if figure != "int8":
                cells.append(percent(energy["model"][figure] / base["model"][figure] if base else None))
        speed = energy.get("speed")
        lines.append(
            [*cells, f"{speed['seconds_per_second']:.3g}" if speed else EMPTY, f"{energy['seconds']:.1f}"]
        )
    heads = ["model", "T", "firing rate", "mean of layers", "spikes", "parameters"]
    heads += ["eqs 15, 16: 1e9 pJ", "with ends: 1e9 pJ"] if equations else []
    heads += [
        "µJ/s paper",
        "share of the ANN's",
        "µJ/s full",
        "share of the ANN's",
        "µJ/s int8",
        "s per s",
        "audio, s",
    ]
    return markdown_table(heads, lines)


def modules_table(experiments: Experiments) -> str:
    """Of each part of each model the firing rate (without one for an ANN) and the energy "paper" / "full"."""
    measured = {e["name"]: e["energy"] for e in experiments if e["energy"] and "modules" in e["energy"]}
    lines = []
    for module in dict.fromkeys(module for energy in measured.values() for module in energy["modules"]):
        cells = [module]
        for energy in measured.values():
            rate, part = energy["modules"].get(module, {}).get("rate"), energy["parts"].get(module)
            fires = "" if rate is None else f"{percent(rate)}: "
            cells.append(f"{fires}{part['paper']:.4g} / {part['full']:.4g}" if part else "")
        lines.append(cells)
    return markdown_table(["module", *measured], lines)


def layers_table(experiments: Experiments) -> str:
    """Firing rate of every neuron layer in %, a column a spiking model; "!" marks those out of range.

    >>> layers = [{"name": "net.a", "rate": 0.25}, {"name": "net.b", "rate": 0.0}]
    >>> print(layers_table([{"name": "lif", "layers": layers}]))
    | layer | lif   |
    | ----- | ----- |
    | net.a | 25.0  |
    | net.b | 0.0 ! |
    """
    rates = {
        e["name"]: {layer["name"]: layer["rate"] for layer in e["layers"]} for e in experiments if e["layers"]
    }

    def cell(rate):
        odd = rate is not None and not LEAST_RATE < rate < MOST_RATE
        return "" if rate is None else f"{100 * rate:.1f}{' !' if odd else ''}"

    layers = dict.fromkeys(name for found in rates.values() for name in found)
    return markdown_table(["layer", *rates], [[n, *(cell(r.get(n)) for r in rates.values())] for n in layers])


def synthesis_table(scores: Mapping) -> str:
    """How each system spoke: mode, model, vocoder, time; empty where no system came with a synthesis.yaml."""
    lines = []
    for name, entry in scores["systems"].items():
        if about := entry["synthesis"]:
            cells = [name, *(str(about[key]) for key in ("mode", "model", "vocoder", "utterances"))]
            lines.append([*cells, f"{about['computing_per_second_of_audio']:.3f}"])
    return markdown_table(["system", "mode", "model", "vocoder", "utterances", "s per s"], lines)


def alignment_table(experiments: Experiments) -> str:
    """Boundary errors of each voice's aligner; empty where none was scored."""
    scored = {f"{e['name']}: {e['alignment']['set']}": e["alignment"] for e in experiments if e["alignment"]}
    return boundaries_table(scored)
