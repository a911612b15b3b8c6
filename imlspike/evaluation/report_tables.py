"""Tables of a report, made of what `imlspike.evaluation.experiments.gather` found in experiments' folders."""

from collections.abc import Mapping, Sequence

from imlspike.evaluation.alignment import boundaries_table
from imlspike.evaluation.energy import FIGURES, times
from imlspike.evaluation.error_rates import RATES
from imlspike.evaluation.experiments import NONE
from imlspike.evaluation.spikes import LEAST_RATE, MOST_RATE
from imlspike.evaluation.tables import EMPTY, interval_cell, markdown_table, number, percent

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
HEADS = {"best_epoch": "best epoch by valid loss"}  # the averaged epochs may have been chosen by another


def peers_of(experiments: Experiments, named: str | None = None) -> dict[str, list[str]]:
    """Peers of each spiking experiment, by their names: the one `named`, or those of its name
    with "_" and more behind (quick: quick_relu, quick_conformer), or else the first ANN."""
    names = [e["name"] for e in experiments]
    anns = [e["name"] for e in experiments if e["model"].get("neuron") in (NONE, "relu")]
    found = {}
    for name in names:
        own = [other for other in names if other.startswith(f"{name}_")]
        peers = [named] if named in names else own or anns[:1]
        if name not in anns and peers != [name] and peers:
            found[name] = peers
    return found


def with_spaces(experiments: Experiments) -> bool:
    """Return whether all error rates count the spaces between words."""
    return all(score["characters_include_space"] for e in experiments for score in e["scores"])


def short(comparison: Mapping) -> str:
    """The peer's name without the model's: relu of quick and quick_relu."""
    return comparison["peer"].removeprefix(f"{comparison['name']}_")


def rates_table(experiments: Experiments, comparisons: Sequence[Mapping] = (), primary: str = "cer") -> str:
    """Error rates of recognizers, `primary` first: a line for each decoding of each set."""
    against: dict[tuple, dict[str, Mapping]] = {}
    for c in comparisons:
        for r in c["errors"]:
            against.setdefault((c["name"], r["decoding"], r["set"]), {})[short(c)] = r
    peers = dict.fromkeys(map(short, comparisons))
    # Without spaces a "word" is a whole sentence.
    heads = {"cer": "CER", "wer": "WER" if with_spaces(experiments) else "sentences wrong"}
    rates = sorted(RATES, key=lambda rate: rate != primary)
    rows = []
    for e in experiments:
        for score in e["scores"]:
            gaps = against.get((e["name"], score["decoding"], score["set"]), {})
            row = {"model": e["name"], "decoding": score["decoding"], "set": score["set"]}
            row |= {f"{heads[rate]} %": interval_cell(score[rate], ".1f", 100) for rate in rates}
            for peer in peers:
                gap = gaps.get(peer)
                row[f"{heads[primary]} / {peer}"] = interval_cell(gap, ".2f", key="ratio") if gap else ""
            speed = score["speed"]
            row["RTF"] = f"{speed['seconds'] / speed['audio_seconds']:.3g}" if speed else ""
            if speed and speed["processes"] > 1:
                row["RTF"] += f" ({speed['processes']} jobs)"
            rows.append(row)
    return markdown_table(rows)


def groups_table(experiments: Experiments, primary: str = "cer") -> str:
    """Error rates by group of speakers, `primary` first: a line for each decoding and rate, a column a group;
    empty where nothing was scored by groups."""
    rows = []
    for e in experiments:
        for score in e["scores"]:
            for rate in sorted(RATES, key=lambda rate: rate != primary) if score.get("groups") else ():
                row = {"model": e["name"], "decoding": score["decoding"], "set": score["set"]}
                row["rate, %"] = rate.upper()
                for name, group in score["groups"].items():
                    cell = interval_cell(group[rate], ".1f", 100)
                    alone = group["speakers"] == 1  # who tells of no other
                    row[f"{name} ({group['speakers']})"] = cell.partition(" ")[0] if alone else cell
                rows.append(row)
    return markdown_table(rows)


def sets_table(experiments: Experiments) -> str:
    """Utterances, hours and words of the sets that models were trained and scored on, and the share of their
    characters outside a recognizer's vocabulary."""
    rows: dict[tuple, dict] = {}
    for e in experiments:
        sized = [("training", e["training_set"], None)] if e["training_set"] else []
        for name, size, unknown in [*sized, *((s["set"], s["size"], s["unknown"]) for s in e["scores"])]:
            row = {"model": e["name"], "set": name, "utterances": number(size["utterances"], "d")}
            hours = None if size["seconds"] is None else size["seconds"] / 3600
            row |= {"hours": number(hours, ".3g", EMPTY), "words": number(size["words"], "d", EMPTY)}
            if e["kind"] == "recognizer":
                row["unknown characters"] = EMPTY if unknown is None else f"{100 * unknown:.2g} %"
            rows.setdefault((e["name"], name), row)  # not once for each decoding
    return markdown_table(list(rows.values()))


def training_table(experiments: Experiments) -> str:
    """Model, seed, steps, time, memory and validation losses of each training; columns that none has are left
    out."""
    rows = []
    for e in experiments:
        training = e["training"] or {}
        figures = {key: number(training.get(key), form) for key, form in COSTS.items()}
        figures |= {key: number(value, ".3f") for key, value in training.get("valid", {}).items()}
        figures = {HEADS.get(key, key.replace("_", " ")): cell for key, cell in figures.items()}
        if e["averaged"]:
            figures["epochs averaged"] = "{epochs}, by {criterion}".format(**e["averaged"])
        rows.append({"model": e["name"], **e["model"], "seed": number(e["seed"], ""), **figures})
    heads = [head for head in dict.fromkeys(h for row in rows for h in row) if any(r.get(head) for r in rows)]
    return markdown_table([{head: row.get(head, "") for head in heads} for row in rows])


def energy_table(experiments: Experiments, twin: str | None = None) -> str:
    """Firing rate, parameters and time, a line a model; of vocoders the paper's equations, too."""
    energies = {e["name"]: e["energy"] for e in experiments if e["energy"]}
    peers = peers_of(experiments, twin)
    equations = any(energy.get("table_3") for energy in energies.values())
    rows = []
    for name, energy in energies.items():
        row = {
            "model": name,
            "T": str(energy.get("steps") or ""),
            "firing rate": percent(energy["firing_rate"]),
            "mean of layers": percent(energy.get("layer_rate")),
            "spikes": number(energy["mean_count"], ".2f"),
            "parameters": f"{energy['parameters']['model'] / 1e6:.2f} M",
        }
        if equations:
            own, other = energy.get("table_3"), energies.get(peers.get(name, [""])[0], {}).get("table_3")
            for head, part in (("eqs 15, 16: 1e9 pJ", "blocks"), ("with ends: 1e9 pJ", "model")):
                share = f" ({percent(times(own[part], other[part]))})" if own and other else ""
                row[head] = f"{own[part] / 1e9:.3g}{share}" if own else EMPTY
        speed = energy.get("speed") or {}
        row["s per s"] = number(speed.get("seconds_per_second"), ".3g", EMPTY)
        if speed.get("load") is not None:
            row["s per s"] += f" (load {speed['load']:.1f})"
        rows.append(row | {"audio, s": f"{energy['seconds']:.1f}"})
    return markdown_table(rows)


def accountings_table(experiments: Experiments) -> str:
    """Energy in µJ/s by every accounting, "scope / whole model": a line an accounting, a column a model."""
    energies = {e["name"]: e["energy"] for e in experiments if e["energy"]}
    rows = []
    for figure, meaning in FIGURES.items():
        row = {"accounting": meaning}
        for name, energy in energies.items():
            scopes = energy[energy.get("scope", "encoder")], energy["model"]
            row[name] = " / ".join(f"{scope[figure]:.4g}" for scope in scopes)
        rows.append(row)
    if not energies:
        return ""
    front = {name: number(energy.get("front_end"), ".4g", EMPTY) for name, energy in energies.items()}
    return markdown_table([*rows, {"accounting": "front end, in none of the others"} | front])


def modules_table(experiments: Experiments) -> str:
    """Firing rate (an ANN has none) and energy "paper" / "full" of each part of each model."""
    measured = {e["name"]: e["energy"] for e in experiments if e["energy"] and "modules" in e["energy"]}
    rows: dict[str, dict] = {}
    for name, energy in measured.items():
        for module, found in energy["modules"].items():
            part, rate = energy["parts"][module], found["rate"]
            fires = "" if rate is None else f"{percent(rate)}: "
            rows.setdefault(module, {"module": module} | dict.fromkeys(measured, ""))
            rows[module][name] = f"{fires}{part['paper']:.4g} / {part['full']:.4g}"
    return markdown_table(list(rows.values()))


def layers_table(experiments: Experiments) -> str:
    """Firing rate of every neuron layer in %, a column a spiking model; "!" marks those out of range."""
    spiking = [e for e in experiments if e["layers"]]
    rows: dict[str, dict] = {}
    for e in spiking:
        for layer in e["layers"]:
            odd = "" if LEAST_RATE < layer["rate"] < MOST_RATE else " !"
            row = rows.setdefault(layer["name"], {"layer": layer["name"]} | {e["name"]: "" for e in spiking})
            row[e["name"]] = f"{100 * layer['rate']:.1f}{odd}"
    return markdown_table(list(rows.values()))


def synthesis_table(scores: Mapping) -> str:
    """Table of how each system spoke: mode, model, vocoder, time; empty without a synthesis.yaml."""
    rows = []
    for name, entry in scores["systems"].items():
        if about := entry["synthesis"]:
            told = {key: about.get(key, "") for key in ("mode", "model", "vocoder", "utterances")}
            seconds = number(about.get("computing_per_second_of_audio"), ".3f")
            rows.append({"system": name} | told | {"s per s": seconds})
    return markdown_table(rows)


def alignment_table(experiments: Experiments) -> str:
    """Boundary errors of each voice's aligner; empty where none was scored."""
    scored = {f"{e['name']}: {e['alignment']['set']}": e["alignment"] for e in experiments if e["alignment"]}
    return boundaries_table(scored)
