"""Character and word error rates of a recogniser's transcripts, with their uncertainty.

The edit distance is jiwer's. What is added: Kaldi `text` files in, nothing dropped in silence, a bootstrap
interval over utterances, and a file of alignments to read.

Characters are counted **with the space between words** (a lost word boundary is an error), after runs of
white space became one space and the ends were stripped; for scripts without spaces (`spaces=False`) they are
taken out of both sides, as is usual for Mandarin. Case, punctuation and Unicode form stay as they are.
"""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import jiwer
import numpy as np

from imlspike.data.files import atomic_write, read_kaldi

COUNTS = ("hits", "substitutions", "deletions", "insertions")
MEASURES = {"cer": jiwer.process_characters, "wer": jiwer.process_words}


@dataclass(frozen=True)
class UtteranceScore:
    """One utterance aligned: `output["cer"]` and `output["wer"]` are jiwer's outputs for it alone."""

    utterance: str
    output: dict
    missing: bool

    def counts(self, measure):
        """Hits, substitutions, deletions and insertions (in that order) by `measure`, "cer" or "wer"."""
        return [getattr(self.output[measure], name) for name in COUNTS]


def score_utterances(references, hypotheses, spaces=True):
    """Align every hypothesis with its reference (dicts of utterance to transcript), in the references' order.

    An utterance without a hypothesis counts as all deletions and is marked `missing`.

    Args:
        spaces: False takes all white space out of both before. A transcript is one word then, and the word
            error rate the share of transcripts with an error.

    Raises:
        ValueError: there is no reference at all, a reference is empty, or a hypothesis has no reference; each
            is named.

    >>> [utterance] = score_utterances({"utt1": "a cat sat"}, {"utt1": "a hat sat on"})
    >>> utterance.counts("wer")  # hits, substitutions, deletions, insertions
    [2, 1, 0, 1]
    >>> [utterance] = score_utterances({"utt1": "放松 北京"}, {"utt1": "放松北 京"}, spaces=False)
    >>> utterance.counts("cer")
    [4, 0, 0, 0]
    """
    joint = " " if spaces else ""
    if not references:
        raise ValueError("no reference transcripts: nothing to score against")
    empty = sorted(utterance for utterance, words in references.items() if not words.strip())
    if empty:
        raise ValueError(f"empty reference for {_names(empty)}: leave these out of the set")
    extra = sorted(set(hypotheses) - set(references))
    if extra:
        raise ValueError(f"hypothesis without a reference for {_names(extra)}: was another set decoded?")
    return [
        UtteranceScore(
            utterance,
            {
                key: process(joint.join(words.split()), joint.join(hypotheses.get(utterance, "").split()))
                for key, process in MEASURES.items()
            },
            missing=utterance not in hypotheses,
        )
        for utterance, words in references.items()
    ]


def bootstrap_interval(errors, lengths, resamples=10000, seed=0, confidence=0.95):
    """Percentile bootstrap interval of the corpus-level ratio `sum(errors) / sum(lengths)`.

    Whole utterances are drawn with replacement, so its errors stay together (Bisani and Ney 2004).

    Args:
        errors, lengths: per utterance, `(U,)`.

    Returns:
        Lower and upper end of the interval, as ratios. One utterance alone gives an interval of no width.

    >>> bootstrap_interval([1, 1, 1], [4, 4, 4])
    (0.25, 0.25)
    """
    errors, lengths = np.asarray(errors, dtype=np.float64), np.asarray(lengths, dtype=np.float64)
    generator = np.random.default_rng(seed)
    ratios = np.empty(resamples)
    for i in range(resamples):
        drawn = generator.integers(len(errors), size=len(errors))
        ratios[i] = errors[drawn].sum() / lengths[drawn].sum()
    tail = (1 - confidence) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return float(low), float(high)


def summarize(scores, resamples=10000, seed=0, spaces=True):
    """Corpus-level CER and WER of `score_utterances`' result: a dict that is ready to be written as JSON.

    Rates are ratios (0.25 is 25 %) and may exceed 1, for insertions count too. `per_utterance`
    holds errors and reference length of each.
    """
    summary = {
        "utterances": len(scores),
        "missing": [score.utterance for score in scores if score.missing],
        "bootstrap": {"resamples": resamples, "seed": seed, "unit": "utterance", "confidence": 0.95},
        "characters_include_space": spaces,
        "jiwer": version("jiwer"),
    }
    summary["per_utterance"] = {
        score.utterance: {m: [sum(score.counts(m)[1:]), sum(score.counts(m)[:3])] for m in MEASURES}
        for score in scores
    }
    for measure in MEASURES:
        table = np.array([score.counts(measure) for score in scores])  # (U, 4)
        errors, lengths = table[:, 1:].sum(axis=1), table[:, :3].sum(axis=1)
        summary[measure] = {
            "rate": float(errors.sum() / lengths.sum()),
            "ci95": list(bootstrap_interval(errors, lengths, resamples, seed)),
            "errors": int(errors.sum()),
            **{name: int(total) for name, total in zip(COUNTS, table.sum(axis=0), strict=True)},
            "reference_length": int(lengths.sum()),
        }
    return summary


def format_alignments(scores):
    """Text with every utterance's word and character alignment, worst character error rate first."""
    parts = []
    for score in sorted(scores, key=lambda score: -score.output["cer"].cer):
        rates = []
        for measure in MEASURES:
            hits, substitutions, deletions, insertions = score.counts(measure)
            length = hits + substitutions + deletions
            rates.append(
                f"{measure.upper()} {(substitutions + deletions + insertions) / length:.1%} of {length} "
                f"(S {substitutions} D {deletions} I {insertions})"
            )
        parts.append(f"{score.utterance}: {'; '.join(rates)}{'; NO HYPOTHESIS' if score.missing else ''}")
        for measure in reversed(MEASURES):
            output = score.output[measure]
            picture = jiwer.visualize_alignment(output, show_measures=False, skip_correct=False)
            parts.append(picture.split("\n", 2)[2].rstrip("\n"))  # without its "SENTENCE 1" heading
        parts.append("")
    return "\n".join(parts)


def format_summary(summary, name=""):
    """The summary as a small table to print."""
    units = {"cer": "characters with spaces", "wer": "words"}
    if not summary["characters_include_space"]:
        units = {"cer": "characters", "wer": "transcripts"}
    missing = len(summary["missing"])
    lines = [f"{name or 'score'}: {summary['utterances']} utterances, {missing} without hypothesis"]
    for measure in MEASURES:
        row = summary[measure]
        low, high = row["ci95"]
        lines.append(
            f"  {measure.upper()} {row['rate']:7.2%}  (95 % {low:.2%} to {high:.2%})  "
            f"S {row['substitutions']}  D {row['deletions']}  I {row['insertions']}  hits {row['hits']}  "
            f"of {row['reference_length']} {units[measure]}"
        )
    return "\n".join(lines)


def score_files(reference, hypothesis, output_dir, name="", resamples=10000, seed=0, spaces=True):
    """Score a Kaldi `text` file against another; write `score.json` and `alignments.txt` into `output_dir`.

    Returns:
        The summary, as in `score.json`.

    Raises:
        ValueError: as `read_kaldi` and `score_utterances`, with both files named.
    """
    try:
        scores = score_utterances(read_kaldi(reference), read_kaldi(hypothesis), spaces)
    except ValueError as error:
        raise ValueError(f"cannot score {hypothesis} against {reference}: {error}") from error
    summary = {"name": name, "reference": str(reference), "hypothesis": str(hypothesis)}
    summary |= summarize(scores, resamples, seed, spaces)
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    for file, text in (
        ("alignments.txt", format_alignments(scores)),
        ("score.json", json.dumps(summary, indent=2, ensure_ascii=False)),
    ):
        with atomic_write(output_dir / file) as out:
            out.write(text + "\n")
    return summary


def _names(utterances, shown=5):
    rest = len(utterances) - shown
    return ", ".join(utterances[:shown]) + (f" and {rest} more" if rest > 0 else "")
