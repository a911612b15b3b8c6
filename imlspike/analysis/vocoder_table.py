"""The scores of vocoders as a table to read, with what its columns mean and what is missing from them."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from imlspike.analysis.report_parts import EMPTY
from imlspike.analysis.results import aligned
from imlspike.analysis.vocoder_measures import MEASURES, RATE, Measure
from imlspike.analysis.vocoder_scores import GRIFFIN_LIM, NATURAL, Scored
from imlspike.data.files import atomic_write

SHOWN = {NATURAL: "natural speech", GRIFFIN_LIM: "Griffin-Lim"}


def score_columns(report: Mapping) -> list[str]:
    """Heads of the columns after the system's name; an arrow points to where it gets better."""
    heads = [f"{MEASURES[key].title} {'↑' if MEASURES[key].higher else '↓'}" for key in report["measures"]]
    return heads + ["CER, % ↓", "over natural"]


def score_cells(report: Mapping, system: str) -> list[str]:
    """A system's row: means with their 95 % intervals, and the character error rate."""
    entry = report["systems"][system]
    cer = entry["cer"]
    over = cer and {"over": cer["over_natural"], "over_ci95": cer["over_natural_ci95"]}
    return mean_cells(entry["scores"], report["measures"], MEASURES) + [rate_cell(cer), over_cell(over)]


def mean_cells(scores: Mapping, keys: Sequence[str], measures: Mapping[str, Measure]) -> list[str]:
    """Means with their 95 % intervals, of what `imlspike.analysis.vocoder_scores.summarize` has of a system.

    >>> scores = {"mcd": {"mean": 5.0, "ci95": [4.0, 6.0], "failed": {}, "utterances": 3}}
    >>> mean_cells(scores, ["mcd", "pesq"], MEASURES)
    ['5.00 (4.00 to 6.00)', '–']
    """
    cells = []
    for key in keys:
        score, digits = scores.get(key), measures[key].digits
        if score is None or score["mean"] is None:
            cells.append(EMPTY)
            continue
        low, high = score["ci95"]
        few = "" if not score["failed"] else f", {score['utterances']} utterances"
        cells.append(f"{score['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f}{few})")
    return cells


def rate_cell(rate: Mapping | None) -> str:
    """An error rate in per cent with its interval, as `error_rates` has it; None: no recogniser.

    >>> rate_cell({"rate": 0.1, "ci95": [0.05, 0.2]})
    '10.0 (5.0 to 20.0)'
    """
    if rate is None:
        return EMPTY
    low, high = (100 * end for end in rate["ci95"])
    return f"{100 * rate['rate']:.1f} ({low:.1f} to {high:.1f})"


def over_cell(rate: Mapping | None) -> str:
    """By how many points an error rate exceeds another, with its interval.

    >>> over_cell({"over": 0.1, "over_ci95": [-0.05, 0.2]})
    '+10.0 (-5.0 to +20.0)'
    """
    if rate is None:
        return EMPTY
    low, high = (100 * end for end in rate["over_ci95"])
    return f"{100 * rate['over']:+.1f} ({low:+.1f} to {high:+.1f})"


def scores_table(report: Mapping) -> str:
    """The Markdown table of a scores.json, a line for each system."""
    lines = [[SHOWN.get(name, name), *score_cells(report, name)] for name in report["systems"]]
    return aligned(["system", *score_columns(report)], lines)


def score_notes(report: Mapping) -> list[str]:
    """What the columns mean, why some are empty, and which utterances have no score: a sentence each."""
    notes = [
        f"{report['utterances']} utterances, {report['seconds']:.0f} s at {report['sampling_rate']} Hz; "
        "means over utterances, in brackets 95 % intervals by bootstrap. Natural speech is scored against "
        "itself.",
        "; ".join(f"{MEASURES[key].title}: {MEASURES[key].what}" for key in report["measures"]) + ".",
    ]
    if report["sampling_rate"] != RATE:
        notes.append(f"PESQ, ESTOI, pitch and UTMOS see the audio resampled to {RATE} Hz.")
    if "vuv_f1" in report["measures"]:
        notes.append(f"Pitch and voicing by CREPE, size {report['crepe']} (the paper's: full).")
    notes += [f"{MEASURES[key].title} is empty: {reason}." for key, reason in report["left_out"].items()]
    if report["asr_model"]:
        notes.append(f"CER: character error rate of the recogniser {report['asr_model']} on this audio.")
    else:
        notes.append("CER is empty: no recogniser was named (--asr-model).")
    if report["twin"] is None:
        notes.append("No ANN twin is among the systems (--twin names it).")
    return notes + odd_notes(report, MEASURES)


def odd_notes(report: Mapping, measures: Mapping[str, Measure]) -> list[str]:
    """Which utterances have no score and why, and which files belong to no utterance: a sentence each."""
    notes = []
    for name, entry in report["systems"].items():
        for key, score in entry["scores"].items():
            for utterance, reason in (score["failed"] or {}).items():
                notes.append(f"{measures[key].title} of {name}, {utterance}: no value ({reason}).")
    for name, files in report["not_scored"].items():
        if files:
            notes.append(f"{name}: {len(files)} files belong to no utterance: {' '.join(files[:5])}.")
    return notes


def write_scores(report: Mapping, scored: Sequence[Scored], output_dir) -> list[Path]:
    """Write scores.json, scores.csv (a line an utterance and system) and scores.md; returns the files."""
    return write_report(
        report, scored, output_dir, {"cer": "character_errors"}, scores_table(report), score_notes(report)
    )


def write_report(
    report: Mapping,
    scored: Sequence[Scored],
    output_dir,
    rates: Mapping[str, str],
    table: str,
    notes: Sequence[str],
) -> list[Path]:
    """Write scores.json, scores.csv and scores.md; returns the files.

    Args:
        report: content of scores.json.
        scored: what scores.csv has a line of for each system.
        rates: key of an error rate in a system's entry to the head of its column in scores.csv.
        table, notes: of scores.md.
    """
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    columns = ["utterance", "system", "seconds", *report["measures"], *rates.values()]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in scored:
        for name, values in row.values.items():
            line = {"utterance": row.utterance, "system": name, "seconds": row.seconds}
            found = {head: report["systems"][name][key] for key, head in rates.items()}
            errors = {head: r["per_utterance"][row.utterance] if r else "" for head, r in found.items()}
            writer.writerow(line | values | errors)
    contents = {
        "scores.json": json.dumps(report, indent=1, ensure_ascii=False) + "\n",
        "scores.csv": text.getvalue(),
        "scores.md": f"{table}\n\n" + "".join(f"- {note}\n" for note in notes),
    }
    for name, content in contents.items():
        with atomic_write(output_dir / name) as out:
            out.write(content)
    return [output_dir / name for name in contents]
