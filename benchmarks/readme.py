"""Tables of the READMEs, made of committed results.

A table stands between the comments `<!-- NAME, by python -m benchmarks readme -->` and `<!-- end -->`.
"""

import argparse
import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from imlspike.data.files import atomic_write
from imlspike.evaluation.energy import energy as reckon
from imlspike.evaluation.operations import Operations
from imlspike.evaluation.report import compare
from imlspike.evaluation.report_tables import accountings_table, groups_table, interval_cell, rates_table
from imlspike.evaluation.tables import markdown_table

ROOT = Path(__file__).resolve().parents[1]
RECIPE, VOICES, VOCODERS = (Path("egs/msu_ru_nsh", task) for task in ("asr1", "tts1", "voc1"))
ENGLISH = Path("egs/speechocean762/asr1")
FILES = (
    Path("README.md"),
    RECIPE / "AUDIT.md",
    *(recipe / "README.md" for recipe in (RECIPE, VOICES, VOCODERS, ENGLISH)),
)
MODELS = ("quick", "full")  # folders of results: a model and its peers
DECODINGS = {"greedy": "greedy", "8-bit weights": "greedy_8bit", "n-gram": "joint"}
WORDS = {"greedy": "WER %, greedy", "joint": "WER %, n-gram"}  # by decoding
BLOCK = re.compile(r"(<!-- (\S+), by python -m benchmarks readme -->\n).*?(<!-- end -->)", re.DOTALL)


def experiments(recipe: Path = RECIPE) -> list[dict]:
    """What was committed of each model and peer of a recogniser's recipe, decodings by short names."""
    files = [recipe / "results" / model / "results.json" for model in MODELS]
    found = [read(file)["experiments"] for file in files if (ROOT / file).exists()]
    return [short_names(each) for group in found for each in group]


def read(path: Path) -> dict:
    """The content of a committed JSON file."""
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def short_names(experiment: Mapping) -> dict:
    """The experiment on the test set, with decodings as greedy_asr_model_... -> greedy."""
    scored = [score for score in experiment["scores"] if score["set"] == "test"]
    scores = [score | {"decoding": re.split("_asr|_lm_lm", score["decoding"])[0]} for score in scored]
    return {**experiment, "scores": scores}


def over_seeds() -> dict[str, dict[str, dict]]:
    """What models came to over seeds, as far as it was committed: by model and decoding, on the test set."""
    found: dict[str, dict[str, dict]] = {}
    for model in MODELS:
        for file in sorted((ROOT / RECIPE / "results" / f"{model}_seeds").glob("*/results.json")):
            for row in read(file)["rows"]:
                name = model if row["name"] == "base" else row["name"]
                found.setdefault(name, {})[file.parent.name] = {"seeds": row["seeds"], **row["sets"]["test"]}
    return found


def summary() -> str:
    """One line a model: error rates, over seeds where there are several, and energy of the encoder."""
    rows, several = [], over_seeds()
    for each in experiments():
        name, encoder = each["name"], each["energy"]["encoder"]
        rates = {score["decoding"]: interval_cell(score["cer"], ".1f", 100) for score in each["scores"]}
        for decoding, found in several.get(name, {}).items():
            if found["sd"] is not None:
                rates[decoding] = "{mean:.1f} ± {sd:.1f} ({min:.1f} to {max:.1f})".format(**found)
        greedy = several.get(name, {}).get("greedy", {"seeds": 1, "times": None})
        times = greedy["times"] and "{ratio:.2f} ({ci95[0]:.2f} to {ci95[1]:.2f})".format(**greedy["times"])
        row = {"model": f"`{name}`", "seeds": greedy["seeds"]}
        row |= {f"CER %, {head}": rates[decoding] for head, decoding in DECODINGS.items()}
        for score in each["scores"]:
            if head := WORDS.get(score["decoding"]):
                row[head] = interval_cell(score["wer"], ".1f", 100)
        row["greedy, times the spiking one's"] = times or ""
        row["encoder, µJ/s: fp32"] = f"{encoder['full']:.3g}"
        row["8 bits"] = f"{encoder['int8_bitwise']:.3g}"
        row["8 bits and memory"] = f"{encoder['int8_bitwise'] + encoder['memory_tiles']:.3g}"
        rows.append(row)
    empty = {head for head in rows[0] if not any(row[head] for row in rows)}
    return markdown_table([{head: row[head] for head in row if head not in empty} for row in rows])


def scores(recipe: Path = RECIPE, primary: str = "cer") -> str:
    """Error rates of every decoding, and their ratios to the peers'."""
    found = experiments(recipe)
    return rates_table(found, compare(found, primary), primary)


def speakers(recipe: Path, primary: str) -> str:
    """Error rates of every decoding by group of speakers."""
    return groups_table(experiments(recipe), primary)


def energy(recipe: Path = RECIPE) -> str:
    """All accountings, encoder / whole model."""
    return accountings_table(experiments(recipe))


def sensitivity() -> str:
    """What other prices make of `quick`'s encoder against its twin and the rival that skips zeros."""
    own, twin = [
        each["energy"]["encoder"] for each in experiments() if each["name"] in ("quick", "quick_relu")
    ]
    prices = {
        "as counted": {},
        "an 8-bit multiplication at 0.15 pJ": {"multiply": 0.15},
        "an 8-bit multiplication at 0.10 pJ": {"multiply": 0.10},
        "each use of an accumulator at 0.07 pJ": {"use": 0.07},
        "each use of an accumulator at 0.10 pJ": {"use": 0.10},
        "a weight read for 64 results": {"reuse": 64},
    }
    rows = []
    for change, changed in prices.items():
        spikes, rival, relu = (
            _at(own, "int8_bitwise", "bitwise", 0, **changed),
            _at(own, "rival_skipping", "events", 3 / 8, **changed),
            _at(twin, "int8_bitwise", "bitwise", 0, **changed),
        )
        rows.append(
            {
                "prices": change,
                "of the twin": f"{spikes[0] / relu[0]:.2f}",
                "with memory": f"{sum(spikes) / sum(relu):.2f}",
                "of the rival": f"{spikes[0] / rival[0]:.2f}",
                "with memory too": f"{sum(spikes) / sum(rival):.2f}",
            }
        )
    return markdown_table(rows)


def _at(scope: Mapping, figure: str, products: str, bits: float, *, multiply=0.2, use=0.0, reuse=16):
    """Arithmetic and memory in tiles, µJ/s, at other prices; `products` have multipliers of `bits` / 8."""
    amounts = {key: count * 1e-6 for key, count in scope["operations_per_second"].items()}
    wide, narrow = amounts["active_macs"], amounts[products]
    sent = (
        5 * amounts["inputs"] + 1.875 * amounts["spiking_inputs"]
    )  # activations: 0.625 pJ a bit, there and back
    arithmetic = scope[figure] + (multiply - 0.2) * (wide + bits * narrow) + use * (wide + narrow)
    return arithmetic, sent + (scope["memory_tiles"] - sent) * 16 / reuse


def equal_bits(recipe: Path) -> str:
    """Of all models of voices or vocoders: everything that runs, in fp32 and with 8-bit weights, from the
    amounts that their reports hold; ratios to the ANN's."""
    rows, first = [], None
    for each in read(recipe / "results" / "results.json")["experiments"]:
        counted = each["energy"]["model"]["operations_per_second"]
        amounts = {key: counted[key] for key in ("macs", "accumulates", "additions", "multiplications")}
        found = reckon([Operations("", "elementwise", **amounts)])
        first = first or found
        row = {"model": f"`{each['name']}`", "10⁶ MACs a second": f"{amounts['macs'] / 1e6:.1f}"}
        row["10⁶ accumulates a second"] = f"{amounts['accumulates'] / 1e6:.1f}"
        for head, figure in (("fp32, µJ/s", "full"), ("8-bit weights, µJ/s", "int8")):
            row[head] = f"{found[figure] * 1e-6:.4g}"
            row[f"of the ANN's, {head.split(',')[0]}"] = f"{found[figure] / first[figure]:.2f}"
        rows.append(row)
    return markdown_table(rows)


def profiled(recipe: Path) -> str:
    """All accountings of the models that were profiled since: results/energy/NAME.json."""
    files = sorted((ROOT / recipe / "results" / "energy").glob("*.json"))
    return accountings_table([{"name": f.stem, "energy": read(f.relative_to(ROOT))} for f in files])


TABLES = {
    "summary": summary,
    "scores": scores,
    "energy": energy,
    "sensitivity": sensitivity,
    "english_scores": partial(scores, ENGLISH, "wer"),
    "english_speakers": partial(speakers, ENGLISH, "wer"),
    "english_energy": partial(energy, ENGLISH),
    "voices_bits": partial(equal_bits, VOICES),
    "voices_energy": partial(profiled, VOICES),
    "vocoders_bits": partial(equal_bits, VOCODERS),
    "vocoders_energy": partial(profiled, VOCODERS),
}


def filled(text: str) -> str:
    """A README with its tables made anew."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def main(argv=None) -> None:
    """Write the tables into the READMEs."""
    argparse.ArgumentParser(prog="python -m benchmarks readme", description=__doc__).parse_args(argv)
    for file in FILES:
        text = (ROOT / file).read_text(encoding="utf-8")
        with atomic_write(ROOT / file) as out:
            out.write(filled(text))
