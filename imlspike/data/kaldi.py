"""Kaldi data directories: `wav.scp`, `text`, `utt2spk`, `spk2utt`, `utt2dur`, and `excluded.tsv`."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imlspike.data.files import atomic_write, read_kaldi, write_kaldi


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

    Raises:
        ValueError: if a table is missing, if two tables don't name the same utterances, or if the directory
            has `segments` (utterances cut out of longer recordings aren't read here).
    """
    data_dir = Path(data_dir)
    if (data_dir / "segments").exists():
        raise ValueError(f"{data_dir}/segments: one file per utterance is expected; cut the recordings first")
    tables = {}
    for name in ("wav.scp", "text", "utt2spk", "utt2dur"):
        if not (data_dir / name).exists():
            raise ValueError(f"{data_dir}: no {name}; expected a directory as imlspike.bin.prepare writes it")
        tables[name] = read_kaldi(data_dir / name)
    for name, table in tables.items():
        odd = sorted(table.keys() ^ tables["wav.scp"].keys())
        if odd:
            raise ValueError(
                f"{data_dir}: utterance {odd[0]!r} stands in only one of wav.scp and {name} "
                f"({len(odd)} such); prepare the directory again"
            )
    wavs, texts, speakers, durations = tables.values()
    return [
        Utterance(utt, wavs[utt], texts[utt], speakers[utt], _seconds(data_dir, utt, durations[utt]))
        for utt in sorted(wavs)
    ]


def _seconds(data_dir: Path, utt: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{data_dir}/utt2dur: {utt!r} has {value!r}; expected seconds") from None


def write_data_dir(
    data_dir: str | os.PathLike, utterances: Iterable[Utterance], excluded: Mapping[str, str] | None = None
) -> None:
    """Write a data directory with its `excluded.tsv` (utterance -> reason; empty if nothing is left out).

    Raises:
        ValueError: if an utterance stands twice, or is both kept and excluded.
    """
    data_dir, utterances, excluded = Path(data_dir), list(utterances), dict(excluded or {})
    kept = {u.id for u in utterances}
    if len(kept) < len(utterances):
        ids = [u.id for u in utterances]
        twice = next(utt for utt in ids if ids.count(utt) > 1)
        raise ValueError(f"{data_dir}: utterance {twice!r} stands twice")
    if both := sorted(kept & excluded.keys()):
        raise ValueError(f"{data_dir}: utterance {both[0]!r} is both kept and left out")
    speakers: dict[str, list[str]] = {}
    for utterance in sorted(utterances, key=lambda u: u.id):
        speakers.setdefault(utterance.speaker, []).append(utterance.id)
    data_dir.mkdir(parents=True, exist_ok=True)
    write_kaldi(data_dir / "wav.scp", {u.id: u.wav for u in utterances})
    write_kaldi(data_dir / "text", {u.id: u.text for u in utterances})
    write_kaldi(data_dir / "utt2spk", {u.id: u.speaker for u in utterances})
    write_kaldi(data_dir / "spk2utt", {speaker: " ".join(ids) for speaker, ids in speakers.items()})
    write_kaldi(data_dir / "utt2dur", {u.id: repr(round(u.seconds, 7)) for u in utterances})
    write_excluded(data_dir, excluded)


def write_excluded(data_dir: str | os.PathLike, excluded: Mapping[str, str]) -> None:
    """Write `excluded.tsv`: a line `utterance<TAB>reason` for each utterance that is left out."""
    with atomic_write(Path(data_dir) / "excluded.tsv") as out:
        out.writelines(f"{utt}\t{' '.join(reason.split())}\n" for utt, reason in sorted(excluded.items()))


def read_excluded(data_dir: str | os.PathLike) -> dict[str, str]:
    """Read `excluded.tsv` as utterance -> reason; empty where the directory has none."""
    path = Path(data_dir) / "excluded.tsv"
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").split("\n")
    return dict(line.split("\t", maxsplit=1) for line in lines if line)
