"""Sound and pictures of a report: copied or drawn into RESULTS_files beside RESULTS.md, and linked."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from imlspike.data.audio import read_audio
from imlspike.data.files import atomic_write, make_folder
from imlspike.data.kaldi import read_data_dir
from imlspike.evaluation.plots import plot_learning_curves, plot_spectrograms
from imlspike.evaluation.systems import NATURAL, SHOWN
from imlspike.evaluation.tables import markdown_table
from imlspike.evaluation.training_log import read_epochs

Pictures = list[tuple[str, Path]]  # (caption, file) each
PROFILED = {
    "firing_rates.png": "Firing rate by depth",
    "raster.png": "Spikes of one utterance",
}
ALIGNED = {"*.png": "Boundaries, found and labelled"}


@dataclass
class Attachments:
    """Contents of a report besides its tables: utterance to system to audio file, and pictures."""

    heard: dict[str, dict[str, Path]] = field(default_factory=dict)
    pictures: Pictures = field(default_factory=list)
    boundaries: Pictures = field(default_factory=list)
    curves: Pictures = field(default_factory=list)


def attach(
    folders: Mapping[Path, str],
    scores: Mapping | None,
    output: Path,
    samples: int,
    data_dir: Path | None = None,
) -> Attachments:
    """Copy sound of so many `samples`, spread over the set, draw spectrograms and learning curves, copy
    experiments' pictures, for the report `output`.

    `folders` are the experiments, each with its "suffix", `scores` the content of a scores.json (None: no
    audio), `data_dir` has the natural speech (default: that of the scores).
    """
    files, attached = output.with_name(f"{output.stem}_files"), Attachments()
    if scores:
        attached.heard = copy_sounds(scores, files, samples, data_dir)
    logs = {folder.name: folder / "train.log" for folder in folders}
    trainings = {name: read_epochs(log) for name, log in logs.items() if log.is_file()}
    try:
        for utterance, sounds in attached.heard.items():
            rate, path = scores["sampling_rate"], files / utterance / "spectrograms.png"
            waves = {SHOWN.get(name, name): read_audio(file, rate) for name, file in sounds.items()}
            plot_spectrograms(waves, rate, path, utterance)
            caption = f"Spectrograms of {utterance}, 0 to {rate // 2000} kHz, 80 dB"
            attached.pictures.append((caption, path))
        picture = (files if scores else output.parent) / "learning_curves.png"
        make_folder(picture.parent)
        if plot_learning_curves(trainings, picture):
            attached.curves = [("Learning curves (dashed: training)", picture)]
    except ImportError:
        print("no spectrograms and learning curves: matplotlib is not installed", file=sys.stderr)
    profiles, alignments = ([f / f"{n}{end}" for f, end in folders.items()] for n in ("profile", "alignment"))
    attached.pictures += copy_pictures(profiles, files, PROFILED)
    attached.boundaries = copy_pictures(alignments, files, ALIGNED)
    return attached


def copy_sounds(
    scores: Mapping, files: Path, samples: int, data_dir: Path | None
) -> dict[str, dict[str, Path]]:
    """Copies of some utterances' audio of all systems, spread over the set: utterance to system to file."""
    utterances = {u.id: u.wav for u in read_data_dir(data_dir or scores["data_dir"])}
    names, samples = list(utterances), min(samples, len(utterances))
    heard: dict[str, dict[str, Path]] = {}
    for utterance in (names[(2 * i + 1) * len(names) // (2 * samples)] for i in range(samples)):
        heard[utterance] = {}
        for name, entry in scores["systems"].items():
            found = [Path(entry["folder"]) / f"{utterance}{ending}" for ending in (".wav", ".flac")]
            found = [Path(utterances[utterance])] if name == NATURAL else found
            source = next(filter(Path.is_file, found), found[0])
            if not source.is_file():
                raise ValueError(f"{source}: no such file; it was there when {name!r} was scored")
            heard[utterance][name] = copy(source, files / utterance / f"{name}{source.suffix}")
    return heard


def copy(source: Path, target: Path) -> Path:
    """A copy that is whole or not there."""
    make_folder(target.parent)
    with open(source, "rb") as read, atomic_write(target, "wb") as out:
        shutil.copyfileobj(read, out)
    return target


def copy_pictures(folders: Sequence[Path], files: Path, wanted: Mapping[str, str]) -> Pictures:
    """Copies of pictures that lie in folders of experiments; `wanted` is pattern of a name to caption."""
    return [
        (f"{caption}, {folder.parent.name}", copy(source, files / f"{folder.parent.name}_{source.name}"))
        for folder in folders
        for pattern, caption in wanted.items()
        for source in sorted(folder.glob(pattern))
    ]


def link(path: Path, folder: Path) -> str:
    """A file as a report in `folder` names it.

    >>> link(Path("exp/RESULTS_files/a b.png"), Path("exp"))
    'RESULTS_files/a%20b.png'
    """
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def show(pictures: Pictures, folder: Path) -> list[str]:
    """The lines that show pictures in a report in `folder`."""
    return [line for caption, path in pictures for line in (f"![{caption}]({link(path, folder)})", "")]


def sound_table(heard: Mapping, folder: Path) -> str:
    """A line a system with links to its audio."""
    rows: dict[str, dict] = {}
    for utterance, files in heard.items():
        for name, file in files.items():
            row = rows.setdefault(name, {"system": SHOWN.get(name, name)})
            row[utterance] = f"[{file.name}]({link(file, folder)})"
    return markdown_table(list(rows.values()))
