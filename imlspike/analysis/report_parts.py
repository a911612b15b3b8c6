"""What the reports of vocoders and of voices share: scores against the twin's, firing rates, energy.

An experiment here is a mapping with its `name`, with `energy`, the content of profile/energy.json (or None),
and with `layers`, that of profile/spikes.json (or an empty list), both of `imlspike profile`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from imlspike.analysis.energy import verdict
from imlspike.analysis.results import aligned
from imlspike.analysis.spikes import LEAST_RATE, MOST_RATE
from imlspike.analysis.vocoder_measures import Measure
from imlspike.analysis.vocoder_scores import NATURAL

EMPTY = "–"


def read_json(path: Path):
    """The content of a JSON file; None where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def percent(share: float | None) -> str:
    """A share as a table shows it.

    >>> percent(0.1234), percent(None)
    ('12.3 %', '–')
    """
    return EMPTY if share is None else f"{100 * share:.1f} %"


def twin_table(scores: Mapping, measures: Mapping[str, Measure]) -> str:
    """The differences of each system to the ANN twin, as a Markdown table; empty without a twin.

    Args:
        scores: content of a scores.json.
        measures: its measures by their keys.
    """
    keys = [key for key in scores["measures"] if key not in scores["left_out"]]
    lines = []
    for name, entry in scores["systems"].items():
        gaps = [entry["scores"][key]["to_twin"] for key in keys]
        if name != NATURAL and any(gaps):
            lines.append(
                [name, *(_gap(gap, measures[key].digits) for gap, key in zip(gaps, keys, strict=True))]
            )
    heads = [f"{measures[key].title} {'↑' if measures[key].higher else '↓'}" for key in keys]
    return aligned([f"minus {scores['twin']}", *heads], lines) if lines else ""


def _gap(gap, digits):
    if not gap or gap["mean"] is None:
        return EMPTY
    mean, low, high = (f"{value:+.{digits}f}" for value in (gap["mean"], *gap["ci95"]))
    return f"{mean} ({low} to {high})"


def rates_table(experiments: Sequence[Mapping], prefix: str = "") -> str:
    """Firing rate of every neuron layer in %, a column a model; "!" marks those out of range.

    Args:
        experiments: those without spiking layers are left out.
        prefix: taken off the layers' names.

    >>> layers = [{"name": "net.a", "rate": 0.25}, {"name": "net.b", "rate": 0.0}]
    >>> print(rates_table([{"name": "lif", "layers": layers}], "net."))
    | layer | lif   |
    | ----- | ----- |
    | a     | 25.0  |
    | b     | 0.0 ! |
    """
    spiking = [e for e in experiments if e["layers"]]
    rates = {e["name"]: {layer["name"]: layer["rate"] for layer in e["layers"]} for e in spiking}
    layers = list(dict.fromkeys(name for e in spiking for name in rates[e["name"]]))
    lines = []
    for layer in layers:
        cells = [layer.removeprefix(prefix)]
        for e in spiking:
            rate = rates[e["name"]].get(layer)
            odd = rate is not None and not LEAST_RATE < rate < MOST_RATE
            cells.append("" if rate is None else f"{100 * rate:.1f}{' !' if odd else ''}")
        lines.append(cells)
    return aligned(["layer", *rates], lines) if lines else ""


def range_sentences(experiments: Sequence[Mapping]) -> list[str]:
    """Of each spiking experiment, which layers hardly fire or fire nearly always."""
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
    return said


def _why(layer):
    rate, largest, least = layer["rate"], layer["largest_input"], layer["least_that_fires"]
    if least is None or largest >= least:
        return f"{100 * rate:.2f} %"
    return f"{100 * rate:.2f} %: its largest input, {largest:.3g}, is below {least:.3g}, the least that fires"


def energy_sentences(experiments: Sequence[Mapping], twin: str | None) -> list[str]:
    """Each experiment's energy against that of the experiment `twin`, for its scope and for the model."""
    energies = {e["name"]: e["energy"] for e in experiments if e["energy"]}
    if twin not in energies:
        return []
    return [
        f"{name}: energy of the {scope}: {verdict(energy[scope], energies[twin][scope])}."
        for name, energy in energies.items()
        if name != twin
        for scope in (energy["scope"], "model")
    ]
