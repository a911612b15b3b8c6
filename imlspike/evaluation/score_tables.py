"""Tables of the scores of vocoders and voices (a scores.json), with what their columns mean."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from imlspike.evaluation.measures import MEASURES
from imlspike.evaluation.scoring import Scored
from imlspike.evaluation.sound import RATE
from imlspike.evaluation.systems import NATURAL, SHOWN
from imlspike.evaluation.tables import interval_cell, markdown_table, write_files

MOST = 10  # speakers that a table shows all of


def scores_table(report: Mapping) -> str:
    """The Markdown table of a scores.json, a line for each system; means and rates with 95 % intervals."""
    measures, rows = MEASURES[report["kind"]], []
    over = f"over {SHOWN.get(report['ceiling'] or NATURAL, report['ceiling'])}"
    for name, entry in report["systems"].items():
        row = {"system": SHOWN.get(name, name)}
        for key in report["measures"]:
            score, measure = entry["scores"].get(key, {}), measures[key]
            few = f", {score['utterances']} utterances" if score.get("failed") else ""
            row[measure.head] = interval_cell(score, f".{measure.digits}f", key="mean", more=few)
        cer, wer = entry["cer"] or {}, entry["wer"] or {}
        row["CER, % ↓"] = interval_cell(cer, ".1f", 100)
        row[over] = interval_cell(cer, "+.1f", 100, "over")
        rows.append(row | {"WER, % ↓": interval_cell(wer, ".1f", 100)})
    return markdown_table(rows)


def twin_table(report: Mapping) -> str:
    """The differences of each system to the ANN twin, as a Markdown table; empty without a twin."""
    rows = []
    for name, entry in report["systems"].items():
        gaps = {key: score["to_twin"] or {} for key, score in entry["scores"].items()}
        if name != NATURAL and any(gaps.values()):
            row = {f"minus {report['twin']}": name}
            for key, gap in gaps.items():
                measure = MEASURES[report["kind"]][key]
                row[measure.head] = interval_cell(gap, f"+.{measure.digits}f", key="mean")
            rows.append(row)
    return markdown_table(rows)


def speakers_table(report: Mapping) -> str:
    """Utterances of each system by speaker (a line) and by the speaker they are nearest to (a column), as a
    Markdown table; empty without two speakers. Of more than `MOST` speakers only those that are mistaken."""
    speakers, entries = report.get("speakers", []), report["systems"]
    if len(speakers) > MOST:
        taken = {(who, near) for e in entries.values() for who, row in e["nearest"].items() for near in row}
        mistaken = {who for pair in taken if pair[0] != pair[1] for who in pair}
        speakers = [who for who in speakers if who in mistaken]
    rows = []
    for name, entry in entries.items() if speakers else ():
        for who in speakers:
            counts = {f"nearest to {near}": entry["nearest"].get(who, {}).get(near, 0) for near in speakers}
            rows.append({"system": SHOWN.get(name, name), "speaker": who} | counts)
    return markdown_table(rows)


def score_notes(report: Mapping) -> list[str]:
    """Sentences on what the columns mean, why some are empty, and which utterances have no score."""
    measures, asked, vocoder = MEASURES[report["kind"]], report["measures"], report["kind"] == "vocoder"
    notes = [
        f"{report['utterances']} utterances, {report['seconds']:.0f} s ({report['seconds'] / 3600:.2g} h) of "
        f"natural speech, {report.get('words', '?')} words, at "
        f"{report['sampling_rate']} Hz; means over utterances, in brackets 95 % intervals by bootstrap. "
        "Natural speech is scored against itself.",
        "; ".join(f"{measures[key].title}: {measures[key].what}" for key in asked) + ".",
    ]
    if "mcd" in asked:
        worlds = "of WORLD's envelopes, along the path of DTW in frames of 10 ms"
        how = f"24 coefficients from 40 mel bands {'of short-time spectra' if vocoder else worlds}"
        notes.append(f"MCD: {how}. Others give other values: compare in one table.")
    if report["sampling_rate"] != RATE:
        which = "PESQ, ESTOI, pitch and UTMOS" if vocoder else "Speakers, DNSMOS and UTMOS"
        notes.append(f"{which} hear the audio resampled to {RATE} Hz.")
    if "vuv_f1" in asked:
        notes.append(f"Pitch and voicing by CREPE, size {report['crepe']} (the paper's: full).")
    notes += [f"{measures[key].title} is empty: {reason}." for key, reason in report["left_out"].items()]
    if report["recognizer"]:
        notes.append(
            f"CER and WER: errors of the recognizer {report['recognizer']}, {report['characters']}, in small "
            "letters without punctuation; the difference is paired, on the same sentences."
        )
        if report.get("languages"):
            languages = ", ".join(report["languages"])
            notes.append(f"Numbers in both texts are in words, by the language: {languages}.")
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
                rest = f"; the mean is over the other {score['utterances']}" if score["utterances"] else ""
                notes.append(f"{measures[key].title} of {name}, {utterance}: no value ({reason}){rest}.")
    for name, files in report["not_scored"].items():
        if files:
            notes.append(f"{name}: {len(files)} files belong to no utterance: {' '.join(files[:5])}.")
    return notes


def write_scores(report: Mapping, scored: Sequence[Scored], output_dir) -> list[Path]:
    """Write scores.json, scores.csv (a line an utterance and system) and scores.md; returns the files."""
    heads, rows = {"cer": "character_errors", "wer": "word_errors"}, []
    for one in scored:
        for name, values in one.values.items():
            row = {"utterance": one.utterance, "system": name, "seconds": one.seconds} | values
            row["nearest"] = one.nearest.get(name, "")
            for rate, head in heads.items():
                errors = report["systems"][name][rate]
                row[head] = errors["per_utterance"][one.utterance] if errors else ""
            rows.append(row)
    table = io.StringIO()
    columns = ["utterance", "system", "seconds", *report["measures"], "nearest", *heads.values()]
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    parts = [scores_table(report), "".join(f"- {note}\n" for note in score_notes(report))]
    if table_of_speakers := speakers_table(report):
        parts.append(table_of_speakers + "\n")
    text = "\n\n".join(parts)
    contents = {"scores.json": report, "scores.csv": table.getvalue(), "scores.md": text}
    return write_files({Path(output_dir) / name: content for name, content in contents.items()})
