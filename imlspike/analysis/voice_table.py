"""The scores of voices as a table to read, with what its columns mean and what is missing from them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from imlspike.analysis.results import aligned
from imlspike.analysis.vocoder_scores import NATURAL, Scored
from imlspike.analysis.vocoder_table import SHOWN, mean_cells, odd_notes, over_cell, rate_cell, write_report
from imlspike.analysis.voice_measures import MEASURES, RATE
from imlspike.analysis.voice_scores import RATES

CEPSTRA = {
    "world": "WORLD's spectral envelope (pyworld, DIO and CheapTrick)",
    "spectrum": "the short-time spectrum (pyworld is not installed)",
}


def score_columns(report: Mapping) -> list[str]:
    """Heads of the columns after the system's name; an arrow points to where it gets better."""
    heads = [f"{MEASURES[key].title} {'↑' if MEASURES[key].higher else '↓'}" for key in report["measures"]]
    return ["CER, % ↓", f"over {_shown(report['ceiling'] or NATURAL)}", "WER, % ↓", *heads]


def score_cells(report: Mapping, system: str) -> list[str]:
    """A system's row: error rates of the recogniser, and means; with 95 % intervals."""
    entry = report["systems"][system]
    cer, wer = (entry[key] for key in RATES)
    cells = [rate_cell(cer), over_cell(cer), rate_cell(wer)]
    return cells + mean_cells(entry["scores"], report["measures"], MEASURES)


def scores_table(report: Mapping) -> str:
    """The Markdown table of a scores.json, a line for each system."""
    lines = [[_shown(name), *score_cells(report, name)] for name in report["systems"]]
    return aligned(["system", *score_columns(report)], lines)


def _shown(name: str) -> str:
    return SHOWN.get(name, name)


def score_notes(report: Mapping) -> list[str]:
    """What the columns mean, why some are empty, and which utterances have no score: a sentence each."""
    measures = report["measures"]
    notes = [
        f"{report['utterances']} utterances, {report['seconds']:.0f} s of natural speech at "
        f"{report['sampling_rate']} Hz; means over utterances, in brackets 95 % intervals by bootstrap. "
        "Natural speech is scored against itself.",
        "; ".join(f"{MEASURES[key].title}: {MEASURES[key].what}" for key in measures) + ".",
    ]
    if "mcd" in measures:
        notes.append(
            "MCD, log F0 and V/UV are taken along a path of dynamic time warping, in frames of 10 ms; 24 "
            f"mel-cepstral coefficients from 40 mel bands of {CEPSTRA[report['cepstra']]}. Other cepstra "
            "give other values: compare within one table."
        )
    if report["sampling_rate"] != RATE:
        notes.append(f"Speaker similarity, DNSMOS and UTMOS hear the audio resampled to {RATE} Hz.")
    notes += [f"{MEASURES[key].title} is empty: {reason}." for key, reason in report["left_out"].items()]
    if report["recogniser"]:
        notes.append(
            f"CER and WER: errors of the recogniser {report['recogniser']}, {report['characters']}, in small "
            "letters without punctuation; the difference is paired, on the same sentences."
        )
    else:
        notes.append("CER and WER are empty: no recogniser was named (--asr-model or --asr-command).")
    if report["ceiling"] is None:
        notes.append("No ceiling was named (--ceiling): error rates are compared with natural speech.")
    if "symbol_duration" in measures and "symbol_duration" not in report["left_out"]:
        without = [name for name, entry in report["systems"].items() if not entry["durations"]]
        if without:
            notes.append(f"No durations of their symbols came with: {', '.join(map(_shown, without))}.")
    return notes + odd_notes(report, MEASURES)


def write_scores(report: Mapping, scored: Sequence[Scored], output_dir) -> list[Path]:
    """Write scores.json, scores.csv (a line an utterance and system) and scores.md; returns the files."""
    heads = {"cer": "character_errors", "wer": "word_errors"}
    return write_report(report, scored, output_dir, heads, scores_table(report), score_notes(report))
