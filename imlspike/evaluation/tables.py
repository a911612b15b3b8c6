"""Tables of evaluations: Markdown, CSV and JSON; the scores of vocoders and voices with what their columns
mean."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from imlspike.data.files import atomic_write
from imlspike.evaluation.error_rates import RATES
from imlspike.evaluation.measures import MEASURES, Measure
from imlspike.evaluation.scoring import Scored
from imlspike.evaluation.sound import RATE
from imlspike.evaluation.systems import GRIFFIN_LIM, NATURAL

EMPTY = "–"
SHOWN = {NATURAL: "natural speech", GRIFFIN_LIM: "Griffin-Lim"}


def markdown_table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose cells stand under each other; empty without lines.

    >>> print(markdown_table(["a", "b"], [["long", ""]]))
    | a    | b |
    | ---- | - |
    | long |   |
    """
    if not lines:
        return ""
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (columns, rule, *lines)
    )


def write_table(stem: Path, rows: Sequence[Mapping]) -> list[Path]:
    """Write rows of the same keys as an aligned text, CSV and JSON: `stem` with .txt, .csv and .json."""
    cells = [[f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(list(rows[0]), *cells, strict=True)]
    sides = [str.ljust if isinstance(value, str) else str.rjust for value in rows[0].values()]
    lines = [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True)).rstrip()
        for line in [list(rows[0]), *cells]
    ]
    contents = {
        ".txt": "\n".join(lines) + "\n",
        ".csv": to_csv(rows),
        ".json": json.dumps(rows, indent=1) + "\n",
    }
    return write_files({stem.with_name(stem.name + ending): text for ending, text in contents.items()})


def to_csv(rows: Sequence[Mapping], columns: Sequence[str] = ()) -> str:
    """Rows as CSV; `columns` are those of the first row if none are named."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_files(contents: Mapping[Path, str]) -> list[Path]:
    """Write texts, each file whole or not at all; folders are made. Returns the files."""
    for path, text in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as out:
            out.write(text)
    return list(contents)


def percent(share: float | None) -> str:
    """A share as a table shows it.

    >>> percent(0.1234), percent(None)
    ('12.3 %', '–')
    """
    return EMPTY if share is None else f"{100 * share:.1f} %"


def interval_cell(
    value: float | None, ends: Sequence[float] | None, form: str, scale: float = 1, more: str = ""
) -> str:
    """A value with its interval.

    >>> interval_cell(0.1, [0.05, 0.2], ".1f", 100)
    '10.0 (5.0 to 20.0)'
    """
    if value is None:
        return EMPTY
    low, high = (format(scale * end, form) for end in ends)
    return f"{format(scale * value, form)} ({low} to {high}{more})"


def _heads(measures: Mapping[str, Measure], keys: Sequence[str]) -> list[str]:
    """Heads of columns; an arrow points to where it gets better."""
    return [f"{measures[key].title} {'↑' if measures[key].higher else '↓'}" for key in keys]


def scores_table(report: Mapping) -> str:
    """The Markdown table of a scores.json, a line for each system; means and rates with 95 % intervals."""
    measures, lines = MEASURES[report["kind"]], []
    for name, entry in report["systems"].items():
        cells = [SHOWN.get(name, name)]
        for key in report["measures"]:
            score = entry["scores"].get(key) or {"mean": None, "ci95": None, "failed": {}}
            few = f", {score['utterances']} utterances" if score["failed"] else ""
            cells.append(interval_cell(score["mean"], score["ci95"], f".{measures[key].digits}f", 1, few))
        cer, wer = (entry[rate] or dict.fromkeys(("rate", "ci95", "over", "over_ci95")) for rate in RATES)
        cells += [interval_cell(cer["rate"], cer["ci95"], ".1f", 100)]
        cells += [interval_cell(cer["over"], cer["over_ci95"], "+.1f", 100)]
        lines.append([*cells, interval_cell(wer["rate"], wer["ci95"], ".1f", 100)])
    against = SHOWN.get(report["ceiling"] or NATURAL, report["ceiling"])
    errors = ["CER, % ↓", f"over {against}", "WER, % ↓"]
    return markdown_table(["system", *_heads(measures, report["measures"]), *errors], lines)


def twin_table(report: Mapping) -> str:
    """The differences of each system to the ANN twin, as a Markdown table; empty without a twin."""
    measures = MEASURES[report["kind"]]
    keys = [key for key in report["measures"] if key not in report["left_out"]]
    lines = []
    for name, entry in report["systems"].items():
        gaps = {key: entry["scores"][key]["to_twin"] or {"mean": None, "ci95": None} for key in keys}
        if name != NATURAL and any(gap["mean"] is not None for gap in gaps.values()):
            cells = [
                interval_cell(g["mean"], g["ci95"], f"+.{measures[key].digits}f") for key, g in gaps.items()
            ]
            lines.append([name, *cells])
    return markdown_table([f"minus {report['twin']}", *_heads(measures, keys)], lines)


def score_notes(report: Mapping) -> list[str]:
    """What the columns mean, why some are empty, and which utterances have no score: a sentence each."""
    measures, asked, vocoder = MEASURES[report["kind"]], report["measures"], report["kind"] == "vocoder"
    notes = [
        f"{report['utterances']} utterances, {report['seconds']:.0f} s of natural speech at "
        f"{report['sampling_rate']} Hz; means over utterances, in brackets 95 % intervals by bootstrap. "
        "Natural speech is scored against itself.",
        "; ".join(f"{measures[key].title}: {measures[key].what}" for key in asked) + ".",
    ]
    if "mcd" in asked:
        how = (
            "of short-time spectra"
            if vocoder
            else "of WORLD's envelopes, along the path of DTW in frames of 10 ms"
        )
        notes.append(
            f"MCD: 24 coefficients from 40 mel bands {how}. Others give other values: compare in one table."
        )
    if report["sampling_rate"] != RATE:
        which = "PESQ, ESTOI, pitch and UTMOS" if vocoder else "Speaker similarity, DNSMOS and UTMOS"
        notes.append(f"{which} hear the audio resampled to {RATE} Hz.")
    if "vuv_f1" in asked:
        notes.append(f"Pitch and voicing by CREPE, size {report['crepe']} (the paper's: full).")
    notes += [f"{measures[key].title} is empty: {reason}." for key, reason in report["left_out"].items()]
    if report["recognizer"]:
        notes.append(
            f"CER and WER: errors of the recognizer {report['recognizer']}, {report['characters']}, in small "
            "letters without punctuation; the difference is paired, on the same sentences."
        )
    else:
        notes.append("CER and WER are empty: no recognizer was named (--asr-model or --asr-command).")
    if not vocoder and report["ceiling"] is None:
        notes.append("No ceiling was named (--ceiling): error rates are compared with natural speech.")
    if vocoder and report["twin"] is None:
        notes.append("No ANN twin is among the systems (--twin names it).")
    without = [SHOWN.get(name, name) for name, entry in report["systems"].items() if not entry["durations"]]
    if without and "symbol_duration" in asked and "symbol_duration" not in report["left_out"]:
        notes.append(f"No durations of their symbols came with: {', '.join(without)}.")
    for name, entry in report["systems"].items():
        for key, score in entry["scores"].items():
            for utterance, reason in score["failed"].items():
                notes.append(f"{measures[key].title} of {name}, {utterance}: no value ({reason}).")
    for name, files in report["not_scored"].items():
        if files:
            notes.append(f"{name}: {len(files)} files belong to no utterance: {' '.join(files[:5])}.")
    return notes


def write_scores(report: Mapping, scored: Sequence[Scored], output_dir) -> list[Path]:
    """Write scores.json, scores.csv (a line an utterance and system) and scores.md; returns the files."""
    heads, rows = {"cer": "character_errors", "wer": "word_errors"}, []
    for one in scored:
        for name, values in one.values.items():
            rates = {head: report["systems"][name][rate] for rate, head in heads.items()}
            errors = {
                head: rate["per_utterance"][one.utterance] if rate else "" for head, rate in rates.items()
            }
            rows.append(
                {"utterance": one.utterance, "system": name, "seconds": one.seconds} | values | errors
            )
    columns = ["utterance", "system", "seconds", *report["measures"], *heads.values()]
    notes = "".join(f"- {note}\n" for note in score_notes(report))
    contents = {
        "scores.json": json.dumps(report, indent=1, ensure_ascii=False) + "\n",
        "scores.csv": to_csv(rows, columns),
        "scores.md": f"{scores_table(report)}\n\n{notes}",
    }
    return write_files({Path(output_dir) / name: text for name, text in contents.items()})
