"""The scores of vocoders as a table to read, with what its columns mean and what is missing from them."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from imlspike.analysis.results import aligned
from imlspike.analysis.vocoder_measures import MEASURES, RATE
from imlspike.analysis.vocoder_scores import GRIFFIN_LIM, NATURAL, Scored
from imlspike.data.files import atomic_write

SHOWN = {NATURAL: "natural speech", GRIFFIN_LIM: "Griffin-Lim"}
EMPTY = "–"


def score_columns(report: Mapping) -> list[str]:
    """Heads of the columns after the system's name; an arrow points to where it gets better."""
    heads = [f"{MEASURES[key].title} {'↑' if MEASURES[key].higher else '↓'}" for key in report["measures"]]
    return heads + ["CER, % ↓", "over natural"]


def score_cells(report: Mapping, system: str) -> list[str]:
    """A system's row: means with their 95 % intervals, and the character error rate."""
    entry = report["systems"][system]
    cells = []
    for key in report["measures"]:
        score, digits = entry["scores"].get(key), MEASURES[key].digits
        if score is None or score["mean"] is None:
            cells.append(EMPTY)
            continue
        low, high = score["ci95"]
        few = "" if not score["failed"] else f", {score['utterances']} utterances"
        cells.append(f"{score['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f}{few})")
    return cells + _cer_cells(entry["cer"])


def _cer_cells(cer):
    if cer is None:
        return [EMPTY, EMPTY]
    low, high = (100 * end for end in cer["ci95"])
    more_low, more_high = (100 * end for end in cer["over_natural_ci95"])
    return [
        f"{100 * cer['rate']:.1f} ({low:.1f} to {high:.1f})",
        f"{100 * cer['over_natural']:+.1f} ({more_low:+.1f} to {more_high:+.1f})",
    ]


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
    for name, entry in report["systems"].items():
        for key, score in entry["scores"].items():
            for utterance, reason in (score["failed"] or {}).items():
                notes.append(f"{MEASURES[key].title} of {name}, {utterance}: no value ({reason}).")
    for name, files in report["not_scored"].items():
        if files:
            notes.append(f"{name}: {len(files)} files belong to no utterance: {' '.join(files[:5])}.")
    return notes


def write_scores(report: Mapping, scored: Sequence[Scored], output_dir) -> list[Path]:
    """Write scores.json, scores.csv (a line an utterance and system) and scores.md; returns the files."""
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    columns = ["utterance", "system", "seconds", *report["measures"], "character_errors"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in scored:
        for name, values in row.values.items():
            cer = report["systems"][name]["cer"]
            errors = cer["per_utterance"][row.utterance] if cer else ""
            line = {"utterance": row.utterance, "system": name, "seconds": row.seconds}
            writer.writerow(line | values | {"character_errors": errors})
    notes = "\n".join(f"- {note}" for note in score_notes(report))
    contents = {
        "scores.json": json.dumps(report, indent=1, ensure_ascii=False) + "\n",
        "scores.csv": text.getvalue(),
        "scores.md": f"{scores_table(report)}\n\n{notes}\n",
    }
    for name, content in contents.items():
        with atomic_write(output_dir / name) as out:
            out.write(content)
    return [output_dir / name for name in contents]
