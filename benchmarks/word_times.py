"""Times and confidences of recognized words against a corpus's phone labels.

What is measured on the validation set (shifts of beginnings and ends, the exponent of confidences) is applied
to the test set, and can be stored in a bundle (`--save`). A word's time by the labels is that of the phones
which its first and last sound, by the front end, were matched with (`imlspike.evaluation.alignment.match`);
words where these or their neighbors have no like phone are left out, and counted.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import jiwer
import numpy as np

from benchmarks.measure import setting
from imlspike.data.files import read_kaldi
from imlspike.data.labels import Phone, find_labels, is_pause, read_labels
from imlspike.data.transcript import Word
from imlspike.evaluation.alignment import match
from imlspike.evaluation.tables import markdown_table, write_files
from imlspike.inference import Bundle, Speech2Text
from imlspike.inference.word_times import WordTimes
from imlspike.text.phonemes import front_end

BINS = 10
Time = float | None


class Heard(NamedTuple):
    """A recognized word, whether it is right, and the times of the word spoken there, None: not known."""

    word: Word
    right: bool
    start: Time = None
    end: Time = None


def labelled_times(words: Sequence[Sequence[str]], phones: Sequence[Phone]) -> list[tuple[Time, Time]]:
    """Beginning and end in seconds of each word, given as its symbols; None where the labels don't tell.

    >>> phones = [Phone("pau", 0, 0.3), Phone("a", 0.3, 0.5), Phone("b", 0.5, 0.6), Phone("zh", 0.6, 0.7)]
    >>> labelled_times([["a"], ["b", "zh"]], phones)
    [(0.3, 0.5), (0.5, 0.7)]
    >>> labelled_times([["a", "o"], ["zh"]], phones)  # no vowel is there for o
    [(0.3, None), (None, 0.7)]
    """
    symbols = [symbol for word in words for symbol in word]
    # Pauses are no part of the text: symbols are matched with the other phones.
    spoken = [phone for phone in phones if not is_pause(phone.name)]
    found = dict(match(symbols, [phone.name for phone in spoken]))
    times, first = [], 0
    for word in words:
        last = first + len(word) - 1
        begin, end = found.get(first), found.get(last)
        known = begin is not None and found.get(first - 1, -1) == begin - 1
        start = spoken[begin].start if known else None
        known = end is not None and found.get(last + 1, len(spoken)) == end + 1
        times.append((start, spoken[end].end if known else None))
        first = last + 1
    return times


def listen(s2t: Speech2Text, data_dir: Path, labels: Path, name: str) -> list[Heard]:
    """Recognized words of a set, beside what was spoken by jiwer's alignment."""
    wavs, texts = (read_kaldi(data_dir / table) for table in ("wav.scp", "text"))
    files, speaker, result = find_labels(labels), front_end(name), []
    for utterance, transcript in zip(wavs, s2t.transcribe(wavs.values()), strict=True):
        spoken = texts[utterance].split()
        symbols = [speaker(word, utterance) for word in spoken]
        symbols = [[one for one in word if not is_pause(one)] for word in symbols]
        times = labelled_times(symbols, read_labels(files[utterance], seconds=transcript.seconds))
        words = transcript.words
        told = " ".join(word.text for word in words)
        for part in jiwer.process_words(" ".join(spoken), told).alignments[0]:
            for place in range(part.hyp_start_idx, part.hyp_end_idx):
                at = part.ref_start_idx + place - part.hyp_start_idx
                known = times[at] if part.type != "insert" else (None, None)
                result.append(Heard(words[place], part.type == "equal", *known))
    return result


def errors(words: Iterable[Heard], side: str) -> np.ndarray:
    """Recognized less labelled time of `side`, start or end, in ms, where it is known."""
    known = [one for one in words if getattr(one, side) is not None]
    return np.array([1000 * (getattr(one.word, side) - getattr(one, side)) for one in known])


def time_rows(name: str, words: Sequence[Heard]) -> list[dict]:
    """Rows for a table: of right words and of those that stand for another, starts and ends."""
    rows = []
    for kind in ("right", "wrong"):
        chosen = [one for one in words if one.right == (kind == "right")]
        for side in ("start", "end"):
            found = errors(chosen, side)
            rows.append(
                {"set": name, "words": kind, "of": side, "number": len(chosen), "compared": len(found)}
                | {"median ms": float(np.median(abs(found))), "90 % ms": float(np.percentile(abs(found), 90))}
                | {"late by ms": float(np.median(found))}
            )
    return rows


def reliability(words: Sequence[Heard], exponent: float = 1.0) -> tuple[list[dict], float]:
    """Rows of ten bins of confidence to an exponent, and the expected calibration error.

    >>> sure = [Heard(Word("a", 0, 1, 0.95), True)] * 3 + [Heard(Word("b", 0, 1, 0.95), False)]
    >>> rows, ece = reliability(sure)
    >>> rows[-1]["right"], round(ece, 6)
    (0.75, 0.2)
    """
    said = np.array([one.word.confidence for one in words]) ** exponent
    right = np.array([one.right for one in words])
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    rows, ece = [], 0.0
    for place in range(BINS):
        inside = bins == place
        row = {"confidence": f"{place / BINS:.1f} to {(place + 1) / BINS:.1f}", "words": int(inside.sum())}
        if inside.any():
            row |= {"mean confidence": float(said[inside].mean()), "right": float(right[inside].mean())}
            ece += inside.mean() * abs(row["mean confidence"] - row["right"])
        rows.append(row)
    return rows, float(ece)


def fit(words: Sequence[Heard]) -> WordTimes:
    """Shifts by the median errors of right words, and the exponent of the greatest likelihood.

    `words`: of a recognizer that has neither.
    """
    right = [one for one in words if one.right]
    start, end = (-float(np.median(errors(right, side))) / 1000 for side in ("start", "end"))
    said = np.log(np.clip([one.word.confidence for one in words], 1e-12, 1 - 1e-6))
    is_right = np.array([one.right for one in words])

    def likelihood(exponent: float) -> float:
        return np.where(is_right, exponent * said, np.log(-np.expm1(exponent * said))).sum()

    best = max(np.geomspace(0.05, 20, 600), key=likelihood)
    return WordTimes(round(min(start, 0.0), 3), round(max(end, 0.0), 3), round(float(best), 3))


def main(argv=None) -> None:
    """Print the tables; write them with their numbers, and a bundle with what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks word_times", description=__doc__)
    add = parser.add_argument
    add("--model", required=True, help="bundle or experiment of a recognizer")
    add("--valid-dir", type=Path, required=True, help="Kaldi directory to measure shifts and exponent on")
    add("--data-dir", type=Path, required=True, help="Kaldi directory to score them on")
    add("--labels", type=Path, required=True, help="folder of phone labels, .lab or .TextGrid")
    add("--front-end", default="russian:marked", help="what makes the labels' phones of words (%(default)s)")
    add("--output", type=Path, help="stem of the .md and .json to write")
    add("--save", type=Path, metavar="ZIP", help="write the bundle with the measured word_times (fp16)")
    args = parser.parse_args(argv)
    argv = sys.argv[2:] if argv is None else argv
    s2t, sets = Speech2Text.from_pretrained(args.model), (args.labels, args.front_end)
    s2t.decoder.word_times = WordTimes()
    measured_on = listen(s2t, args.valid_dir, *sets)
    before = listen(s2t, args.data_dir, *sets)
    s2t.decoder.word_times = found = fit(measured_on)
    after = listen(s2t, args.data_dir, *sets)
    rows = time_rows("validation, CTC's spikes", measured_on) + time_rows("test, CTC's spikes", before)
    rows += time_rows("test, shifted", after)
    (_, raw), (bins, ece) = reliability(before), reliability(after)
    command = " ".join(["python -m benchmarks word_times", *argv])
    about = {"command": command, "setting": setting(), "word_times": asdict(found), "times": rows}
    about |= {"ece": ece, "ece_without_exponent": raw, "reliability": bins}
    shown = [{key: f"{x:.0f}" if isinstance(x, float) else x for key, x in row.items()} for row in rows]
    binned = [{key: f"{x:.2f}" if isinstance(x, float) else x for key, x in row.items()} for row in bins]
    share = np.mean([one.right for one in after])
    report = (
        f"# Word times and confidences of {args.model}\n\n`{command}`\n\n{setting()}\n\n"
        f"Measured on the validation set: beginnings {1000 * found.start:+.0f} ms, ends "
        f"{1000 * found.end:+.0f} ms, confidences to the power {found.confidence:g}.\n\n"
        f"{markdown_table(shown)}\n\nConfidences on the test set ({len(after)} words, {share:.1%} right): "
        f"expected calibration error {ece:.3f} ({raw:.3f} without the exponent).\n\n"
        f"{markdown_table(binned)}\n"
    )
    print(report)
    if args.output:
        write_files({args.output.with_suffix(".md"): report, args.output.with_suffix(".json"): about})
    if args.save:
        bundle = Bundle.load(args.model, "recognizer")
        bundle.config["word_times"] = asdict(found)
        bundle.save(args.save, half=True)
