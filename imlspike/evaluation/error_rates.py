"""Character and word error rates of transcripts, with bootstrap intervals over utterances.

The edit distance is jiwer's. Characters are counted **with the space between words** (a lost word boundary is
an error), after runs of white space became one space and the ends were stripped; for scripts without spaces
(`spaces=False`) they are taken out of both sides, as is usual for Mandarin. Nothing is dropped in silence.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jiwer
import numpy as np

from imlspike.data.files import read_kaldi
from imlspike.evaluation.bootstrap import CONFIDENCE, interval, ratio
from imlspike.evaluation.tables import write_files
from imlspike.text.words import spell_out

ADULT = 18  # years
COUNTS = ("hits", "substitutions", "deletions", "insertions")
RATES = ("cer", "wer")


class Aligned(NamedTuple):
    """One utterance aligned by characters and by words; `missing`: it had no hypothesis."""

    cer: jiwer.CharacterOutput
    wer: jiwer.WordOutput
    missing: bool


def align_transcripts(
    references: Mapping[str, str], hypotheses: Mapping[str, str], spaces: bool = True
) -> dict[str, Aligned]:
    """Align every hypothesis with its reference (utterance to transcript), in the references' order.

    An utterance without a hypothesis counts as all deletions and is marked `missing`. Without `spaces` a
    transcript is one word, and the word error rate the share of transcripts with an error. ValueError: as
    `check_references`, or a hypothesis has no reference; each is named.
    """
    check_references(references)
    if extra := sorted(set(hypotheses) - set(references)):
        raise ValueError(f"hypothesis without a reference for {_names(extra)}: was another set decoded?")
    joint, aligned = " " if spaces else "", {}
    for utterance, words in references.items():
        pair = joint.join(words.split()), joint.join(hypotheses.get(utterance, "").split())
        outputs = jiwer.process_characters(*pair), jiwer.process_words(*pair)
        aligned[utterance] = Aligned(*outputs, missing=utterance not in hypotheses)
    return aligned


def check_references(references: Mapping[str, str]) -> None:
    """Raise ValueError where there is no reference at all, or an empty one, which is named."""
    if not references:
        raise ValueError("no reference transcripts: nothing to score against")
    if empty := sorted(utterance for utterance, words in references.items() if not words.strip()):
        raise ValueError(f"empty reference for {_names(empty)}: leave these out of the set")


def _names(utterances: list[str], shown: int = 5) -> str:
    rest = len(utterances) - shown
    return ", ".join(utterances[:shown]) + (f" and {rest} more" if rest > 0 else "")


def error_counts(aligned: Mapping[str, Aligned], rate: str) -> np.ndarray:
    """The `COUNTS` of each utterance by `rate`, "cer" or "wer": (U, 4)."""
    return np.array([[getattr(getattr(one, rate), name) for name in COUNTS] for one in aligned.values()])


def speaker_groups(data_dir, utterances: Iterable[str]) -> dict[str, dict[str, str]]:
    """Groups of `utterances`, each utterance to speaker: `all`, and one for each value in a Kaldi directory's
    tables about speakers: `gender f` of spk2gender; by spk2age `age child` (under `ADULT`), `age adult`.

    ValueError: an utterance isn't in utt2spk or its speaker not in a table, or an age is no number; table and
    name are told.
    """
    table = read_kaldi(path := Path(data_dir) / "utt2spk")
    speakers = {utterance: table.get(utterance, "") for utterance in utterances}
    if absent := [utterance for utterance, speaker in speakers.items() if not speaker]:
        raise ValueError(f"{path}: no speaker for {_names(absent)}; is it the directory of another set?")
    groups = {"all": speakers}
    for path in sorted(Path(data_dir).glob("spk2*")):
        attribute, table = path.name.removeprefix("spk2"), read_kaldi(path)
        if attribute == "utt":
            continue
        for utterance, speaker in speakers.items():
            value = table.get(speaker, "")
            if not value or (attribute == "age" and not re.fullmatch(r"\d+(\.\d+)?", value)):
                raise ValueError(f"{path}: speaker {speaker} has {value!r}; expected its {attribute}")
            if attribute == "age":
                value = "child" if float(value) < ADULT else "adult"
            groups.setdefault(f"{attribute} {value}", {})[utterance] = speaker
    return {name: groups[name] for name in sorted(groups, key=lambda name: (name != "all", name))}


def summarize(
    aligned: Mapping[str, Aligned],
    resamples: int = 10000,
    seed: int = 0,
    spaces: bool = True,
    groups: Mapping[str, Mapping[str, str]] | None = None,
) -> dict:
    """Corpus-level CER and WER of `align_transcripts`' result, ready to be JSON.

    Rates are ratios (0.25 is 25 %) and may exceed 1, for insertions count too. `per_utterance` holds errors
    and reference length of each; `groups`, as `speaker_groups` gives them, the rates of each with intervals
    over speakers: whole speakers are drawn, so the interval tells of others like them.
    """
    summary = {
        "utterances": len(aligned),
        "missing": [utterance for utterance, one in aligned.items() if one.missing],
        "bootstrap": {"resamples": resamples, "seed": seed, "unit": "utterance", "confidence": CONFIDENCE},
        "characters_include_space": spaces,
        "jiwer": version("jiwer"),
        "per_utterance": {utterance: {} for utterance in aligned},
    }
    for rate in RATES:
        counts = error_counts(aligned, rate)
        errors, lengths = counts[:, 1:].sum(axis=1), counts[:, :3].sum(axis=1)
        for utterance, *pair in zip(aligned, errors.tolist(), lengths.tolist(), strict=True):
            summary["per_utterance"][utterance][rate] = pair
        summary[rate] = {
            **_rate(errors, lengths, resamples=resamples, seed=seed),
            "errors": int(errors.sum()),
            **dict(zip(COUNTS, counts.sum(axis=0).tolist(), strict=True)),
            "reference_length": int(lengths.sum()),
        }
    if groups:
        resampling, scored = {"resamples": resamples, "seed": seed}, summary["per_utterance"]
        summary["groups"] = {name: _of_group(scored, of, **resampling) for name, of in groups.items()}
    return summary


def _of_group(scored: Mapping[str, Mapping], speakers: Mapping[str, str], **resampling: int) -> dict:
    """Speakers, utterances and rates of a group, utterance to speaker."""
    sums = {rate: {speaker: np.zeros(2, int) for speaker in speakers.values()} for rate in RATES}
    for utterance, speaker in speakers.items():
        for rate in RATES:
            sums[rate][speaker] += scored[utterance][rate]
    found = {"speakers": len(sums[RATES[0]]), "utterances": len(speakers)}
    return found | {rate: _rate(*np.array([*sums[rate].values()]).T, **resampling) for rate in RATES}


def _rate(errors: np.ndarray, lengths: np.ndarray, name: str = "", **resampling: int) -> dict:
    ends = interval(ratio, errors, lengths, **resampling)
    return {name or "rate": float(ratio(errors, lengths)), f"{name}_ci95" if name else "ci95": ends}


def format_alignments(aligned: Mapping[str, Aligned]) -> str:
    """Text with every utterance's word and character alignment, worst character error rate first."""
    lines = []
    for utterance, one in sorted(aligned.items(), key=lambda item: -item[1].cer.cer):
        heads = []
        for rate in RATES:
            [[hits, *errors]] = error_counts({utterance: one}, rate).tolist()
            length = hits + errors[0] + errors[1]
            told = "S {} D {} I {}".format(*errors)
            heads.append(f"{rate.upper()} {sum(errors) / length:.1%} of {length} ({told})")
        lines.append(f"{utterance}: {'; '.join(heads)}{'; NO HYPOTHESIS' if one.missing else ''}")
        for output in (one.wer, one.cer):
            picture = jiwer.visualize_alignment(output, show_measures=False, skip_correct=False)
            lines.append(picture.split("\n", 2)[2].rstrip("\n"))  # without its "SENTENCE 1" heading
        lines.append("")
    return "\n".join(lines) + "\n"


def format_summary(summary: Mapping) -> str:
    """The summary as a small table to print."""
    spaces, missing = summary["characters_include_space"], summary["missing"]
    units = ("characters with spaces", "words") if spaces else ("characters", "transcripts")
    title = summary.get("name") or "score"
    lines = [f"{title}: {summary['utterances']} utterances, {len(missing)} without hypothesis"]
    for rate, unit in zip(RATES, units, strict=True):
        row = summary[rate]
        low, high = row["ci95"]
        errors = f"S {row['substitutions']}  D {row['deletions']}  I {row['insertions']}  hits {row['hits']}"
        shown = f"{rate.upper()} {row['rate']:7.2%}  (95 % {low:.2%} to {high:.2%})"
        lines.append(f"  {shown}  {errors}  of {row['reference_length']} {unit}")
    for name, group in summary.get("groups", {}).items():
        told = [f"{rate.upper()} {group[rate]['rate']:.1%}" for rate in RATES]
        lines.append(f"  {name}, speakers: {group['speakers']}; {', '.join(told)}")
    if missing:
        lines.append(f"  no hypothesis, counted as all deletions: {' '.join(missing)}")
    return "\n".join(lines)


def score_files(
    reference, hypothesis, output_dir, name="", resamples=10000, seed=0, spaces=True, groups_dir=None
) -> dict:
    """Score a Kaldi `text` file against another; write `score.json` and `alignments.txt` into `output_dir`.

    With `groups_dir`, a Kaldi directory, also by its groups of speakers.

    Returns the summary, as in `score.json`. ValueError as `read_kaldi` and `align_transcripts`, with both
    files.
    """
    try:
        aligned = align_transcripts(read_kaldi(reference), read_kaldi(hypothesis), spaces)
    except ValueError as error:
        raise ValueError(f"cannot score {hypothesis} against {reference}: {error}") from error
    summary = {"name": name, "reference": str(reference), "hypothesis": str(hypothesis)}
    groups = speaker_groups(groups_dir, aligned) if groups_dir else None
    summary |= summarize(aligned, resamples, seed, spaces, groups)
    folder = Path(output_dir)
    write_files({folder / "alignments.txt": format_alignments(aligned), folder / "score.json": summary})
    return summary


def compare_transcripts(
    references: Mapping[str, str],
    transcripts: Mapping[str, Mapping[str, str]],
    against: str,
    spaces: bool = True,
    languages: Mapping[str, str] | None = None,
    **resampling: int,
) -> dict[str, dict[str, dict]]:
    """Error rates of a recognizer on several systems' speech, and by how much they exceed those of the system
    `against`; both sides as they can be heard (`plain`), in the `languages` of the utterances, if known.

    Returns system to "cer" and "wer" to ``{"rate", "ci95", "over", "over_ci95", "per_utterance"}``: ratios,
    intervals (paired for the difference), errors of each utterance. `resampling`: as for `interval`.
    """

    def heard(texts: Mapping[str, str]) -> dict[str, str]:
        return {name: plain(text, (languages or {}).get(name, "")) for name, text in texts.items()}

    truth = heard(references)
    result: dict[str, dict[str, dict]] = {name: {} for name in transcripts}
    aligned = {name: align_transcripts(truth, heard(texts), spaces) for name, texts in transcripts.items()}
    for rate in RATES:
        counts = {name: error_counts(found, rate) for name, found in aligned.items()}
        lengths, base = counts[against][:, :3].sum(1), counts[against][:, 1:].sum(1)
        for name, table in counts.items():
            errors = table[:, 1:].sum(1)
            result[name][rate] = {
                **_rate(errors, lengths, **resampling),
                **_rate(errors - base, lengths, "over", **resampling),
                "per_utterance": dict(zip(truth, errors.tolist(), strict=True)),
            }
    return result


def plain(text: str, language: str = "") -> str:
    """A text as it can be heard: small letters, single blanks, no punctuation, no marks of stress.

    A hyphen or a dash is a blank; an apostrophe inside a word vanishes. With its language (a code, as nl),
    numbers, units and abbreviations are words (`spell_out`), and the Russian ё, which some write, is е.

    >>> plain("Всё-таки, прядь вол+ос… D'Artagnan's; и\u0301ли")
    'всё таки прядь волос dartagnans или'
    >>> plain("Всё за 5 минут.", "ru"), plain("Het is 21 °C", "nl")
    ('все за пять минут', 'het is eenentwintig graden celsius')
    """
    if language:
        text = spell_out(text, language)
    if language == "ru":
        text = text.replace("ё", "е").replace("Ё", "Е")
    text = re.sub("[\u0300\u0301+'’ʼ`]", "", unicodedata.normalize("NFC", text))
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in text.lower())
    return " ".join("".join(kept).split())
