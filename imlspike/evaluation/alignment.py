"""Distance of the boundaries that a voice's aligner found from those of phone labels.

The aligner's symbols come from text, the labels' phones from somebody who listened: they differ. Both
sequences of an utterance are matched by edit distance, in which like sounds may stand for each other and a
vowel never for a consonant; boundaries are compared where both sounds beside them are matched.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from imlspike.data.audio import audio_format, read_audio
from imlspike.data.kaldi import read_data_dir
from imlspike.data.labels import (
    TIER,
    Phone,
    boundary_times,
    check_labelled,
    find_labels,
    is_pause,
    read_durations,
    read_labels,
)
from imlspike.data.progress import Progress
from imlspike.evaluation.plots import plot_boundaries, plot_boundary_errors
from imlspike.evaluation.tables import markdown_table, write_files
from imlspike.inference.voice import TrainedVoice
from imlspike.layers.log_mel import LogMel
from imlspike.losses import learned_durations
from imlspike.text.russian import STRESSED, UNSTRESSED

WITHIN = (20, 40, 80)  # ms
_ARPABET = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()
_VOWELS = {*STRESSED, *UNSTRESSED, *_ARPABET}
_VOICING = {"b": "p", "v": "f", "g": "k", "d": "t", "z": "s", "zh": "sh", "dh": "th", "jh": "ch"}
_SAME, _LIKE, _KIND, _GAP, _NEVER = 0.0, 0.3, 1.0, 1.0, float("inf")


@torch.no_grad()
def align(voice: TrainedVoice, symbols: Sequence[str], wave: np.ndarray, name: str = "text") -> list[int]:
    """Frames of each symbol in a recording (S,) at the voice's sampling rate, found by its aligner.

    Raises:
        ValueError: no aligner, no symbol, one that the voice doesn't know, more symbols than frames.
    """
    if not symbols:
        raise ValueError(f"{name}: no symbols; there is nothing to align")
    numbers = voice.numbers(symbols, name)[None]
    try:
        mel = LogMel(**voice.features)(torch.from_numpy(wave)[None]).transpose(1, 2).to(voice.device)
        mel = (mel - voice.mean) / voice.deviation
        lengths = [torch.tensor([x.shape[1]], device=voice.device) for x in (numbers, mel)]
        prior = voice.recording.get("prior_scale", 1.0)
        return learned_durations(voice.model, numbers, lengths[0], mel, lengths[1], prior)[1][0].tolist()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def is_vowel(symbol: str) -> bool:
    """Return whether a phone of ours or of usual labels is a vowel; with a tone or stress number it is one.

    >>> is_vowel("oo"), is_vowel("AH0"), is_vowel("uang3"), is_vowel("zh")
    (True, True, True, False)
    """
    return symbol in _VOWELS or symbol[-1:].isdigit()


@functools.cache
def difference(one: str, other: str) -> float:
    """Cost of matching two phones: 0 for the same, 0.3 for like ones, 1 for others of the same kind.

    Kinds are vowels, consonants and pauses (with punctuation); phones of different kinds are never matched.
    Like ones: two vowels of the same first letter, a hard and a soft or a voiced and a voiceless consonant.

    >>> difference("oo", "oo"), difference("aa", "ay"), difference("tt", "d"), difference("a", "i")
    (0.0, 0.3, 0.3, 1.0)
    """
    pauses = is_pause(one) + is_pause(other)
    if one == other or pauses == 2:
        return _SAME
    if pauses == 1 or is_vowel(one) != is_vowel(other):
        return _NEVER
    one, other = (x.lower().rstrip("0123456789") for x in (one, other))
    return _LIKE if _root(one) == _root(other) else _KIND


def _root(phone: str) -> str:
    """The first letter of a vowel, a hard and voiceless consonant: what like phones have in common."""
    hard = phone[0] if len(phone) == 2 and phone[0] == phone[1] else phone
    return phone[0] if is_vowel(phone) or phone.upper() in _VOWELS else _VOICING.get(hard, hard)


def match(symbols: Sequence[str], phones: Sequence[str]) -> list[tuple[int, int]]:
    """Places of symbols and phones that belong together, ascending in both, of the least edit distance.

    >>> match(["k", "o", "t", ","], ["pau", "k", "aa", "tt", "pau"])
    [(0, 1), (1, 2), (2, 3), (3, 4)]
    """
    costs = [[_GAP * j for j in range(len(phones) + 1)]]
    for i, symbol in enumerate(symbols):
        above, row = costs[-1], [_GAP * (i + 1)]
        for j, phone in enumerate(phones):
            row.append(min(above[j] + difference(symbol, phone), above[j + 1] + _GAP, row[j] + _GAP))
        costs.append(row)
    i, j, pairs = len(symbols), len(phones), []
    while i and j:
        if costs[i][j] == costs[i - 1][j - 1] + difference(symbols[i - 1], phones[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif costs[i][j] == costs[i - 1][j] + _GAP:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


class Compared(NamedTuple):
    """One utterance's boundaries: errors (K,) in ms, the aligner's time less the labels', of the boundaries
    that are in both, and how many the labels have."""

    utterance: str
    errors: tuple[float, ...]
    labelled: int


def compare_boundaries(
    utterance: str,
    symbols: Sequence[str],
    durations: Sequence[int],
    phones: Sequence[Phone],
    frame_seconds: float,
) -> Compared:
    """Boundary errors of N symbols with the frames that the aligner gave each, against a label file's phones.

    >>> phones = [Phone("a", 0.0, 0.1), Phone("b", 0.1, 0.2), Phone("o", 0.2, 0.3)]
    >>> compare_boundaries("ru_1", ["a", "b", "o"], [10, 11, 9], phones, 0.01)
    Compared(utterance='ru_1', errors=(-5.0, 5.0), labelled=2)
    """
    if len(symbols) != len(durations):
        counts = f"{len(symbols)} symbols, but {len(durations)} durations"
        raise ValueError(f"{utterance}: {counts}; were they made for another text?")
    times, errors = boundary_times(durations, frame_seconds), []
    pairs = match(symbols, [phone.name for phone in phones])
    for (i, j), after in zip(pairs, pairs[1:], strict=False):
        if after == (i + 1, j + 1):
            errors.append(round(1000 * (times[i] - phones[j].end), 6))
    return Compared(utterance, tuple(errors), len(phones) - 1)


def summarize_boundaries(compared: Sequence[Compared]) -> dict:
    """Boundary errors of a set, ready to be JSON; ValueError if no boundary could be compared at all.

    median_ms, mean_ms: of the absolute errors; bias_ms: median of the signed ones (positive: the aligner is
    late); within: ms to the share of boundaries at most so far off; compared_share: of the labels'.
    """
    errors = np.array([error for one in compared for error in one.errors])
    if not len(errors):
        raise ValueError("no two neighboring phones of text and labels match; are these labels of this set?")
    far, labelled = np.abs(errors), sum(one.labelled for one in compared)
    each = {}
    for name, own, phones in compared:
        median = float(np.median(np.abs(own))) if own else None
        each[name] = {"median_ms": median, "compared": len(own), "labelled": phones}
    return {
        "utterances": len(compared),
        "boundaries": len(errors),
        "labelled": labelled,
        "compared_share": len(errors) / labelled,
        "median_ms": float(np.median(far)),
        "mean_ms": float(far.mean()),
        "bias_ms": float(np.median(errors)),
        "within": {str(ms): float((far <= ms).mean()) for ms in WITHIN},
        "per_utterance": each,
    }


def boundaries_table(summaries: Mapping[str, Mapping]) -> str:
    """A Markdown table of `summarize_boundaries`' results, a line for each set."""
    rows = []
    for name, found in summaries.items():
        share = f"{found['boundaries']} of {found['labelled']} ({100 * found['compared_share']:.0f} %)"
        row = {"set": name, "utterances": found["utterances"], "boundaries compared": share}
        for head, key in (("median, ms", "median_ms"), ("mean, ms", "mean_ms"), ("late by, ms", "bias_ms")):
            row[head] = f"{found[key]:.1f}"
        rows.append(row | {f"within {ms} ms": f"{100 * x:.1f} %" for ms, x in found["within"].items()})
    return markdown_table(rows)


def score_alignment(
    data_dir: Path,
    labels: Path,
    aligner: str | Path,
    voice: TrainedVoice | None,
    hop_length: int,
    output_dir: Path,
    tier: str = TIER,
) -> tuple[str, list[Path]]:
    """Score boundaries of a set, its text in symbols; returns the table and the files that it writes.

    Utterances without a label file are left out and named. Without a `voice`, `aligner` is a Kaldi table of
    the frames, of `hop_length` samples, of each symbol. ValueError: an empty set, no labels at all, durations
    of another set; file and utterance are named.
    """
    utterances, files = read_data_dir(data_dir), find_labels(labels)
    if not utterances:
        raise ValueError(f"{data_dir}: holds no utterance; there is nothing to align")
    without = [utterance.id for utterance in utterances if utterance.id not in files]
    if len(without) == len(utterances):
        check_labelled(without, files, labels)
    utterances = [utterance for utterance in utterances if utterance.id in files]
    if voice:
        rate, hop, table = voice.features["sampling_rate"], voice.features["hop_length"], {}
    else:
        rate = audio_format(utterances[0].wav, utterances[0].id).sampling_rate
        hop, table = hop_length, read_durations(aligner)
    compared, found, progress = [], {}, Progress("utterances aligned")
    for utterance in utterances:
        wave, symbols = read_audio(utterance.wav, rate, utterance.id), utterance.text.split()
        phones = read_labels(files[utterance.id], tier, len(wave) / rate)
        if voice:
            durations = align(voice, symbols, wave, utterance.id)
        else:
            durations = _look_up(table, utterance.id, len(wave), hop, aligner)
        compared.append(compare_boundaries(utterance.id, symbols, durations, phones, hop / rate))
        times = [0.0, *boundary_times(durations, hop / rate), len(wave) / rate]
        own = [Phone(*phone) for phone in zip(symbols, times, times[1:], strict=False)]
        found[utterance.id] = {"aligner": own, "labels": phones}
        progress(len(compared), len(utterances))
    about = {"set": data_dir.name, "data_dir": str(data_dir), "labels": str(labels), "aligner": str(aligner)}
    about |= {"sampling_rate": rate, "hop_length": hop, "without_labels": without}
    report = about | summarize_boundaries(compared)
    text = boundaries_table({data_dir.name: report}) + "\n"
    if without:
        text += f"\nLeft out, for there is no label file of them: {' '.join(without)}.\n"
    written = write_files({output_dir / "alignment.json": report, output_dir / "alignment.md": text})
    medians = {name: one["median_ms"] for name, one in report["per_utterance"].items() if one["compared"]}
    typical = min(medians, key=lambda name: abs(medians[name] - report["median_ms"]))
    wave = next(read_audio(u.wav, rate, u.id) for u in utterances if u.id == typical)
    pictures = [output_dir / "alignment.png", output_dir / "errors.png"]
    plot_boundaries(found[typical], wave, rate, pictures[0], typical)
    plot_boundary_errors([error for one in compared for error in one.errors], pictures[1])
    return text, [*written, *pictures]


def _look_up(table: Mapping[str, list[int]], name: str, samples: int, hop_length: int, source) -> list[int]:
    if name not in table:
        raise ValueError(f"{source}: no line for {name}; made for another set?")
    frames, expected = sum(table[name]), samples // hop_length + 1
    if abs(frames - expected) > 1:
        found = f"{frames} frames, its recording {expected} of {hop_length} samples (--hop-length)"
        raise ValueError(f"{source}: {name} has {found}")
    return table[name]
