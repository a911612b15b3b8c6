"""Ablations: which runs a list asks for, and what they came to over seeds, in one table.

A run is the experiment folder ``NAME_sSEED``. NAME is ``base``, the model as it is, an override YAML that
turns one factor, or several of these joined by ``+``.
"""

import difflib
import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from imlspike.data.files import make_folder
from imlspike.evaluation.bootstrap import CONFIDENCE, crossed_interval
from imlspike.evaluation.experiments import gather, made_on, surroundings
from imlspike.evaluation.plots import plot_front
from imlspike.evaluation.tables import EMPTY, markdown_table, number, write_files

BASE = "base"
LEAST_SEEDS = 4  # of a paired t; with fewer, seeds that agree by chance look like a difference
NOTES = """\
{measure} by {decoding} decoding: mean ± standard deviation over seeds (lowest to highest). "Less the base's":
in points, each seed less the base's of the same seed, so positive is worse, with the 95 % interval and the p
of a paired t over the seeds; with at least {least} seeds and p below 0.05 it is called a difference (bold).
"Times the base's": ratio of the errors of the seeds in common, with a 95 % interval by bootstrap over seeds
and utterances (paired), which few seeds make too narrow, so that it calls nothing.
s / epoch: median time of a training epoch. Parameters: while training, branches not folded. Where spikes and
energy were counted, spikes: mean of a neuron for one token; µJ/s of the encoder: in fp32; with 8-bit weights,
inputs of zero skipped and spikes bit by bit; and with the memory's traffic, a weight read once a tile.
"""
# Energies of a row: its head, and the figures of the encoder that it sums.
ENERGIES = {
    "fp32": ("µJ/s, fp32", ("full",)),
    "8 bits": ("µJ/s, 8 bits", ("int8_bitwise",)),
    "8 bits, memory": ("µJ/s, 8 bits and memory", ("int8_bitwise", "memory_tiles")),
}
_PARAMETERS = re.compile(r"Total Number of model parameters: (.+)")


class Run(NamedTuple):
    """One training of a list: an ablation (``base`` has no `overrides`) with one seed."""

    ablation: str
    overrides: tuple[Path, ...]
    seed: int

    @property
    def name(self) -> str:
        """Name of its experiment folder."""
        return f"{self.ablation}_s{self.seed}"


def read_list(
    text: str, seeds: Iterable[int] = (0,), folder="conf/ablations", places: Iterable = (".",)
) -> list[Run]:
    """The runs that a list asks for, in its order, each once.

    A line is ``NAME ... [: SEED ...]``; what follows a ``#`` is a remark. A line goes seed by seed, so that a
    list which is stopped leaves pairs to compare.

    Args:
        text: the list, or the path of a .txt file that holds it. NAME is ``base``, a file of `folder` without
            its ``.yaml``, the path of another, or several with ``+`` between, laid in this order.
        seeds: of lines that name none.
        places: the folders from which paths may start.

    Raises:
        ValueError: a name without a file (the nearest is named), a seed that is no whole number, two files
            for one name, or an empty list.

    >>> [run.name for run in read_list("base : 0 1")]
    ['base_s0', 'base_s1']
    """
    where, runs = "list", {}
    if text.endswith(".txt"):
        if (file := _existing(text, places)) is None:
            raise ValueError(f"there is no list {text}")
        text, where = file.read_text(encoding="utf-8"), text
    for line_number, line in enumerate(text.splitlines(), start=1):
        names, colon, own_seeds = line.partition("#")[0].partition(":")
        try:
            used = [int(seed) for seed in own_seeds.split()] if colon else list(seeds)
            found = [_overrides(name, folder, places) for name in names.split()]
            named = [("+".join(path.stem for path in paths) or BASE, paths) for paths in found]
            for run in (Run(name, paths, seed) for seed in used for name, paths in named):
                if (other := runs.setdefault(run.name, run)) != run:
                    both = " and ".join(" + ".join(map(str, one.overrides)) for one in (run, other))
                    raise ValueError(f"{both}: one name for both")
        except ValueError as error:
            raise ValueError(f"{where}, line {line_number}: {error}") from None
    if not runs:
        raise ValueError(f"{where}: no runs; expected lines such as 'base decay_none : 0 1 2'")
    return list(runs.values())


def _existing(path, places) -> Path | None:
    return next((file for place in places if (file := Path(place) / path).is_file()), None)


def _overrides(name: str, folder, places) -> tuple[Path, ...]:
    return tuple(_override(part, folder, places) for part in name.split("+") if part != BASE)


def _override(name: str, folder, places) -> Path:
    file = name if name.endswith(".yaml") else f"{folder}/{name}.yaml"
    if (path := _existing(file, places)) is not None:
        return path
    known = [path.stem for place in places for path in (Path(place) / folder).glob("*.yaml")]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are: {BASE} {' '.join(sorted(set(known)))}"
    raise ValueError(f"there is no {file}; {hint}")


def turns(overrides: Sequence[Path]) -> str:
    """The factors that overrides turn: the comment in the first line of each, or its name."""
    firsts = {path.name: path.read_text(encoding="utf-8").partition("\n")[0] for path in overrides}
    told = [first.lstrip("# ") if first.startswith("#") else name for name, first in firsts.items()]
    return "; ".join(told)


def read_known(paths: Iterable, measure: str, decoding: str) -> dict[str, dict]:
    """Runs that earlier tables tell of, by name: trainings of another machine, or that are gone.

    Args:
        paths: ``results.json`` files that `write_report` made of the same error rate and decoding.

    Raises:
        ValueError: a file that is none of these, or in which a run stands that another one has, too.
    """
    known: dict[str, dict] = {}
    for path in map(Path, paths):
        try:
            results = json.loads(path.read_text(encoding="utf-8"))
            made, runs = (results["measure"], results["decoding"]), results["runs"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: no results.json of ablations ({error})") from None
        if made != (measure, decoding):
            raise ValueError(f"{path} has {' by '.join(made)}; expected {measure} by {decoding}")
        if twice := sorted(known.keys() & {run["name"] for run in runs}):
            raise ValueError(f"{path}: {twice[0]} stands in another file, too")
        known |= {run["name"]: run for run in runs}
    return known


def collect(
    runs: Sequence[Run],
    exp_dir,
    measure: str = "cer",
    decoding: str = "greedy",
    known: Mapping[str, Mapping] = MappingProxyType({}),
) -> dict:
    """Results of the runs in the folder `exp_dir`, ready to be JSON.

    A run counts as complete when ``decode_<decoding>/<set>/score.json`` is there for every set that any run
    has; in `decoding` a * stands for anything. What isn't in `exp_dir` may be `known` (`read_known`).

    Returns:
        ``sets``; ``runs``, what each complete one came to by `measure` ("cer" or "wer"); ``rows``, one for
        each ablation with `spread` over seeds and `difference` to the base; ``incomplete``, the other runs'
        names.
    """
    found = {run.name: _gather(Path(exp_dir) / run.name, measure, decoding) for run in runs}
    taken = [name for name in known if name in found and not found[name]["rates"]]
    found |= {name: dict(known[name]) for name in taken}
    sets = {name for result in found.values() for name in result["rates"]}
    sets = sorted(sets, key=lambda name: (not name.startswith(("valid", "dev")), name))
    complete = [run for run in runs if sets and found[run.name]["rates"].keys() == set(sets)]
    results: dict[str, dict[int, dict]] = {}
    for run in complete:
        results.setdefault(run.ablation, {})[run.seed] = found[run.name]
    rows = []
    for ablation, overrides in {run.ablation: run.overrides for run in complete}.items():
        own, base = results[ablation], results.get(BASE, {}) if ablation != BASE else {}
        row = {"name": ablation, "turns": turns(overrides), "seeds": len(own), "sets": {}}
        for name in sets:
            rates, others = ({seed: one["rates"][name] for seed, one in side.items()} for side in (own, base))
            gap = difference(rates, others) if rates.keys() & others.keys() else None
            times = times_base(own, base, name) if gap else None
            row["sets"][name] = spread(rates) | {"difference": gap, "times": times}
        row["kind"] = next(iter(own.values()))["kind"]
        for key in ("seconds_per_epoch", "mean_count", "firing_rate", *ENERGIES):
            values = [one[key] for one in own.values() if one[key] is not None]
            row[key] = statistics.median(values) if values else None
        first = next(iter(own.values()))
        rows.append(row | {key: first[key] for key in ("epochs", "parameters")})
    return {
        "measure": measure,
        "decoding": decoding,
        "sets": sets,
        "rows": rows,
        "runs": [{"name": run.name, "seed": run.seed} | found[run.name] for run in complete],
        "known": taken,
        "incomplete": [run.name for run in runs if run not in complete],
    }


def _gather(folder: Path, measure: str, decoding: str) -> dict:
    """The figures of one run; without rates where it hasn't begun."""
    if not (folder / "config.yaml").is_file():
        return {"rates": {}}
    try:
        experiment = gather(folder)
    except ValueError as error:
        hint = "delete what is broken in it and run the list again"
        raise ValueError(f"{folder} can't be read, {hint}: {error}") from error
    matching = [one for one in experiment["scores"] if fnmatchcase(one["decoding"], decoding)]
    decoded = {one["set"]: one for one in matching}
    if twice := sorted({one["decoding"] for one in matching}) if len(decoded) < len(matching) else []:
        raise ValueError(f"{folder}: {' and '.join(twice)}, of which one is asked for; remove the other")
    scores = {name: score[measure] for name, score in decoded.items()}
    errors = {
        name: {utterance: one[measure] for utterance, one in score["per_utterance"].items()}
        for name, score in decoded.items()
    }
    log, source = (folder / name for name in ("train.log", "source.txt"))
    told = _PARAMETERS.findall(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else []
    training, energy = experiment["training"] or {}, experiment["energy"] or {}
    scope = energy.get(energy.get("scope"))
    counted = {name: scope and sum(scope[figure] for figure in ENERGIES[name][1]) for name in ENERGIES}
    return {
        "rates": {name: 100 * row["rate"] for name, row in scores.items()},
        "kind": _kind(experiment["config"]),
        "errors": errors,
        **counted,
        **{key: training.get(key) for key in ("epochs", "seconds_per_epoch")},
        **{key: energy.get(key) for key in ("mean_count", "firing_rate")},
        "parameters": told[-1].strip() if told else None,
        "source": source.read_text(encoding="utf-8").strip() if source.is_file() else None,
    }


def _kind(config: Mapping) -> str:
    """The encoder, or the activation in place of its neurons: what makes a line of the front."""
    neuron = (config.get("encoder_conf") or {}).get("neuron", "imls")
    return config["encoder"] if neuron == "imls" else neuron


def spread(rates: Mapping[int, float]) -> dict:
    """Mean, standard deviation (of a sample, n - 1) and range over seeds; one seed has no deviation: None.

    >>> found = spread({0: 50.0, 1: 52.0, 2: 54.0})
    >>> found["mean"], found["sd"], found["min"], found["max"]
    (52.0, 2.0, 50.0, 54.0)
    """
    values = list(rates.values())
    return {
        "by_seed": {str(seed): rate for seed, rate in rates.items()},
        "mean": statistics.mean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
    }


def difference(rates: Mapping[int, float], base: Mapping[int, float]) -> dict:
    """`spread` of an ablation's rates less the base's, seed by seed, and a paired t of them.

    ``p`` and ``ci95`` are the t's over the seeds in common, None with one seed or differences all alike.
    ``called``: at least `LEAST_SEEDS` seeds and p < 0.05. ``worse``: with how many seeds the ablation has the
    higher rate.

    >>> found = difference({0: 3.0, 1: 4.0, 2: 3.0, 3: 5.0}, {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0})
    >>> round(found["p"], 4), found["called"]
    (0.0105, True)
    """
    from scipy.stats import ttest_1samp

    found = spread({seed: rates[seed] - base[seed] for seed in rates if seed in base})
    values, p, ends = list(found["by_seed"].values()), None, None
    if found["sd"] and found["sd"] > 1e-9:  # below it is the rounding of what is all alike
        test = ttest_1samp(values, 0.0)
        p, ends = float(test.pvalue), [float(end) for end in test.confidence_interval(CONFIDENCE)]
    called = len(values) >= LEAST_SEEDS and p is not None and p < 1 - CONFIDENCE
    return found | {"p": p, "ci95": ends, "called": called, "worse": sum(value > 0 for value in values)}


def times_base(own: Mapping[int, Mapping], base: Mapping[int, Mapping], name: str) -> dict:
    """Errors of an ablation's runs on a set over those of the base's runs with the same seeds: "ratio" and,
    over seeds and utterances, "ci95". ValueError: scores of other utterances."""
    pairs = [(own[seed]["errors"][name], base[seed]["errors"][name]) for seed in own if seed in base]
    utterances = sorted(pairs[0][0])
    if odd := [one for pair in pairs for side in pair for one in side.keys() ^ set(utterances)]:
        raise ValueError(
            f"runs of the base and of another were scored on other utterances of {name}: {odd[0]}"
        )
    sides = [
        [[one[utterance][0] for utterance in utterances] for one in side] for side in zip(*pairs, strict=True)
    ]
    above, below = (sum(map(sum, side)) for side in sides)
    if not above and not below:
        return {"ratio": 1.0, "ci95": [1.0, 1.0]}
    return {"ratio": above / below if below else float("inf"), "ci95": crossed_interval(*sides)}


def table(results: Mapping) -> str:
    """The Markdown table of what `collect` returns."""
    rows = []
    for row in results["rows"]:
        cells = {"ablation": row["name"], "what it turns": row["turns"], "seeds": row["seeds"]}
        for name, found in row["sets"].items():
            range_, gap = f" ({found['min']:.1f} to {found['max']:.1f})", found["difference"]
            cells[f"{results['measure'].upper()} % {name}"] = _cell(found, ".1f", range_)
            cells[f"less the base's, {name}"] = _gap_cell(gap) if gap else ""
            times = found["times"]
            shown = "{ratio:.2f} ({ci95[0]:.2f} to {ci95[1]:.2f})".format(**times) if times else ""
            cells[f"times the base's, {name}"] = shown
        cells |= {"epochs": number(row["epochs"], "d"), "s / epoch": number(row["seconds_per_epoch"], ".3g")}
        cells |= {"parameters": row["parameters"] or "", "spikes": number(row["mean_count"], ".2f")}
        if any(row["fp32"] is not None for row in results["rows"]):
            cells |= {ENERGIES[key][0]: number(row[key], ".3g", EMPTY) for key in ENERGIES}
        rows.append(cells)
    return markdown_table(rows)


def _cell(found: Mapping, form: str, more: str) -> str:
    mean = format(found["mean"], form)
    return f"{mean} (one seed: no spread)" if found["sd"] is None else f"{mean} ± {found['sd']:.1f}{more}"


def _gap_cell(gap: Mapping) -> str:
    if gap["p"] is None:
        return _cell(gap, "+.1f", "")
    low, high = gap["ci95"]
    shown = f"{gap['mean']:+.1f} ({low:+.1f} to {high:+.1f}), p = {gap['p']:.2g}, {len(gap['by_seed'])} seeds"
    return f"**{shown}**" if gap["called"] else shown


def sentences(results: Mapping) -> list[str]:
    """Sentences beside the table: the base's spread, unequal trainings, runs that miss."""
    said, rows = [], {row["name"]: row for row in results["rows"]}
    for name, found in rows.get(BASE, {"sets": {}})["sets"].items():
        if found["sd"] is not None:
            said.append(
                f"{name}: the seeds of the base lie up to {found['max'] - found['min']:.1f} points apart; a "
                "difference of one seed that is not larger says nothing."
            )
    if rows and BASE not in rows:
        said.append("No run of the base is complete, so there is nothing to compare with.")
    if len({row["epochs"] for row in rows.values()}) > 1:
        shown = ", ".join(f"{name} {row['epochs']}" for name, row in rows.items())
        said.append(f"THE RUNS WERE NOT TRAINED ALIKE, epochs: {shown}.")
    if results["known"]:
        said.append(f"Taken from earlier tables (--known): {' '.join(results['known'])}.")
    done, missing = len(results["runs"]), results["incomplete"]
    rest = f"; not yet: {' '.join(missing)}" if missing else ""
    return [*said, f"{done} of {done + len(missing)} runs are complete{rest}."]


def write_report(
    runs: Sequence[Run],
    exp_dir,
    output_dir,
    measure: str,
    decoding: str,
    command: str,
    known: Mapping[str, Mapping] = MappingProxyType({}),
) -> tuple[str, list[str], list[Path]]:
    """Write RESULTS.md and results.json of what `collect` finds; returns the table, `sentences`, the files.

    `command` is the one that made the runs, for the record.
    """
    results = collect(runs, exp_dir, measure, decoding, known)
    about = {"command": command, **surroundings()}
    shown, said = table(results) or "No run is complete.", sentences(results)
    seeds = ", ".join(map(str, sorted({run["seed"] for run in results["runs"]})))
    sources = ", ".join(sorted({run["source"] or "unknown" for run in results["runs"]}))
    notes = NOTES.format(measure=measure.upper(), decoding=decoding, least=LEAST_SEEDS)
    lines = ["# Ablations", "", shown, "", notes, *(f"- {sentence}" for sentence in said), "", "## How", ""]
    lines += [f"- command: `{command}`", f"- seeds: {seeds}"]
    lines += [f"- git: {sources} (of the trainings), {about['git']} (of this table)", *made_on(about), ""]
    folder, counted = Path(output_dir), [row for row in results["rows"] if row["fp32"] is not None]
    if len(counted) > 1:
        make_folder(folder)
        shown_set, heads = (
            results["sets"][-1],
            {key: ENERGIES[key][0] for key in ("8 bits", "8 bits, memory")},
        )
        plot_front(
            front(counted, shown_set, heads), f"{measure.upper()} %, {shown_set}", folder / "front.png"
        )
        lines += ["![error rate against energy](front.png)", ""]
    contents = {"RESULTS.md": "\n".join(lines), "results.json": about | results}
    return shown, said, write_files({folder / name: text for name, text in contents.items()})


def front(rows: Iterable[Mapping], name: str, heads: Mapping[str, str]) -> dict[str, dict[str, list[tuple]]]:
    """Points (energy, mean error rate on the set `name`, standard deviation, the row's name) of each kind of
    encoder, by the names of energies (key of a row to head)."""
    found: dict[str, dict[str, list[tuple]]] = {head: {} for head in heads.values()}
    for row in rows:
        rate = row["sets"][name]
        for key, head in heads.items():
            point = row[key], rate["mean"], rate["sd"] or 0.0, row["name"]
            found[head].setdefault(row["kind"], []).append(point)
    return found
