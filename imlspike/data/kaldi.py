"""Kaldi data directories: `wav.scp`, `text`, `utt2spk`, `spk2utt`, `utt2dur`, and `excluded.tsv`."""

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imlspike.data.files import atomic_write, make_folder, read_kaldi, read_text, write_kaldi


@dataclass(frozen=True)
class Utterance:
    """One utterance of a data directory; `wav` is a file, `seconds` its length."""

    id: str
    wav: str
    text: str
    speaker: str
    seconds: float


def read_data_dir(data_dir: str | os.PathLike) -> list[Utterance]:
    """Read a data directory, sorted by utterance.

    ValueError if a table is missing, if two tables don't name the same utterances, or if the directory has
    `segments` (utterances cut out of longer recordings).
    """
    data_dir = Path(data_dir)
    if (data_dir / "segments").exists():
        raise ValueError(f"{data_dir}/segments: one file per utterance is expected; cut the recordings first")
    tables = {}
    for name in ("wav.scp", "text", "utt2spk", "utt2dur"):
        if not (data_dir / name).exists():
            raise ValueError(f"{data_dir}: no {name}; expected a directory as 'imlspike prepare' writes it")
        tables[name] = read_kaldi(data_dir / name)
        if odd := sorted(tables[name].keys() ^ tables["wav.scp"].keys()):
            raise ValueError(
                f"{data_dir}: utterance {odd[0]!r} stands in only one of wav.scp and {name} "
                f"({len(odd)} such); prepare the directory again"
            )
    wavs, texts, speakers, seconds = tables.values()
    for utt, value in seconds.items():
        try:
            seconds[utt] = float(value)
        except ValueError:
            seconds[utt] = math.nan
        if not 0 <= seconds[utt] < math.inf:
            raise ValueError(f"{data_dir}/utt2dur: {utt!r} has {value!r}; expected seconds")
    return [Utterance(utt, wavs[utt], texts[utt], speakers[utt], seconds[utt]) for utt in sorted(wavs)]


def read_segments(data_dir: str | os.PathLike) -> dict[str, tuple[str, float, float]]:
    """Read `segments`, the utterances of longer recordings: recording, begin and end in seconds of each.

    An end below 0 is that of the recording. ValueError for a line of another form, or of a recording that
    wav.scp doesn't name.
    """
    path, wavs = Path(data_dir) / "segments", read_kaldi(Path(data_dir) / "wav.scp")
    segments = {}
    for utterance, line in read_kaldi(path).items():
        recording, *times = line.split()
        try:
            begin, end = map(float, times)
            if not (0 <= begin < math.inf and (begin < end < math.inf or end < 0)):
                raise ValueError
        except ValueError:
            told = "expected 'utterance recording begin end', in seconds"
            raise ValueError(f"{path}: {utterance!r} has {line!r}; {told}") from None
        if recording not in wavs:
            raise ValueError(f"{path}: {utterance!r} is of {recording!r}, which wav.scp doesn't name")
        segments[utterance] = recording, begin, end
    return segments


def write_data_dir(
    data_dir: str | os.PathLike, utterances: Iterable[Utterance], excluded: Mapping[str, str] | None = None
) -> None:
    """Write a data directory with its `excluded.tsv`, a line `utterance<TAB>reason` for each left out.

    ValueError if an utterance stands twice, or is both kept and excluded.
    """
    data_dir, utterances, excluded = Path(data_dir), sorted(utterances, key=lambda u: u.id), excluded or {}
    for utterance, count in Counter(u.id for u in utterances).items():
        if count > 1:
            raise ValueError(f"{data_dir}: utterance {utterance!r} stands twice")
        if utterance in excluded:
            raise ValueError(f"{data_dir}: utterance {utterance!r} is both kept and left out")
    speakers: dict[str, list[str]] = {}
    for utterance in utterances:
        speakers.setdefault(utterance.speaker, []).append(utterance.id)
    make_folder(data_dir)
    write_kaldi(data_dir / "wav.scp", {u.id: u.wav for u in utterances})
    write_kaldi(data_dir / "text", {u.id: u.text for u in utterances})
    write_kaldi(data_dir / "utt2spk", {u.id: u.speaker for u in utterances})
    write_kaldi(data_dir / "spk2utt", {speaker: " ".join(ids) for speaker, ids in speakers.items()})
    write_kaldi(data_dir / "utt2dur", {u.id: repr(round(u.seconds, 7)) for u in utterances})
    with atomic_write(data_dir / "excluded.tsv") as out:
        for utterance, reason in sorted(excluded.items()):
            out.write(f"{' '.join(utterance.split())}\t{' '.join(reason.split())}\n")


def read_excluded(data_dir: str | os.PathLike) -> dict[str, str]:
    """Read `excluded.tsv` as utterance -> reason; empty where the directory has none."""
    path = Path(data_dir) / "excluded.tsv"
    lines = read_text(path).split("\n") if path.exists() else []
    return {line.partition("\t")[0]: line.partition("\t")[2] for line in lines if line}
