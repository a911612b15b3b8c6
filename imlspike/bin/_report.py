"""What verbs that write a report of synthesised speech share: sound, pictures, links, settings."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import yaml

from imlspike.analysis.results import aligned
from imlspike.analysis.vocoder_scores import NATURAL
from imlspike.analysis.vocoder_table import SHOWN
from imlspike.data.audio import read_audio
from imlspike.data.files import atomic_write
from imlspike.data.kaldi import read_data_dir

PROFILED = {
    "profile/firing_rates.png": "Firing rate by depth",
    "profile/raster.png": "Spikes of one utterance",
}


def folder_of(output: Path) -> Path:
    """Where sound and pictures go: RESULTS_files beside RESULTS.md."""
    return output.with_name(f"{output.stem}_files")


def copy_sounds(
    scores: Mapping, output: Path, samples: int, data_dir: Path | None = None
) -> dict[str, dict[str, Path]]:
    """Copies of some utterances' audio of all systems, spread over the set: utterance to system to file.

    Args:
        scores: content of a scores.json; each system's audio lies in its "folder".
        output: the report.
        samples: how many utterances.
        data_dir: of the natural speech; default: that of the scores.

    Raises:
        ValueError: if a system's audio isn't where it was scored.
    """
    utterances = {u.id: u.wav for u in read_data_dir(data_dir or scores["data_dir"])}
    names = list(utterances)
    chosen = [names[(2 * i + 1) * len(names) // (2 * samples)] for i in range(min(samples, len(names)))]
    heard: dict[str, dict[str, Path]] = {}
    for utterance in chosen:
        folder = folder_of(output) / utterance
        folder.mkdir(parents=True, exist_ok=True)
        heard[utterance] = {}
        for name, entry in scores["systems"].items():
            source = Path(utterances[utterance])
            if name != NATURAL:
                found = [Path(entry["folder"]) / f"{utterance}{ending}" for ending in (".wav", ".flac")]
                source = next(filter(Path.is_file, found), found[0])
            if not source.is_file():
                raise ValueError(f"{source}: no such file; it was there when {name!r} was scored")
            heard[utterance][name] = copy(source, folder / f"{name}{source.suffix}")
    return heard


def copy(source: Path, target: Path) -> Path:
    """A copy that is whole or not there."""
    with open(source, "rb") as read, atomic_write(target, "wb") as out:
        shutil.copyfileobj(read, out)
    return target


def draw(scores: Mapping, heard: Mapping, output: Path) -> list[tuple[str, Path]]:
    """Spectrograms of what was copied, one picture an utterance: (caption, file) each."""
    try:
        from imlspike.analysis.plots import plot_spectrograms

        pictures = []
        for utterance, files in heard.items():
            rate = scores["sampling_rate"]
            sounds = {SHOWN.get(name, name): read_audio(file, rate) for name, file in files.items()}
            path = folder_of(output) / utterance / "spectrograms.png"
            plot_spectrograms(sounds, rate, path, utterance)
            pictures.append((f"Spectrograms of {utterance}, 0 to {rate // 2000} kHz, 80 dB", path))
        return pictures
    except ImportError:
        print("no spectrograms: matplotlib is not installed", file=sys.stderr)
        return []


def copy_pictures(
    experiments: Sequence[Path], output: Path, wanted: Mapping[str, str] = PROFILED
) -> list[tuple[str, Path]]:
    """Pictures that lie in experiments' folders: (caption, copy) each.

    Args:
        experiments: the folders.
        output: the report.
        wanted: pattern of a file's place in the folder to caption; default: what `imlspike profile` drew.
    """
    found = []
    for folder in experiments:
        for pattern, caption in wanted.items():
            for source in sorted(folder.glob(pattern)):
                target = folder_of(output) / f"{folder.name}_{source.name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                found.append((f"{caption}, {folder.name}", copy(source, target)))
    return found


def link(path: Path, folder: Path) -> str:
    """A file as a report in `folder` names it.

    >>> link(Path("exp/RESULTS_files/a b.png"), Path("exp"))
    'RESULTS_files/a%20b.png'
    """
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def show(pictures: Sequence[tuple[str, Path]], folder: Path) -> list[str]:
    """The lines that show pictures, (caption, file) each, in a report in `folder`."""
    return [line for caption, path in pictures for line in (f"![{caption}]({link(path, folder)})", "")]


def sound_table(heard: Mapping, folder: Path) -> str:
    """A line a system with links to its audio."""
    if not heard:
        return "No utterance was asked for."
    systems = list(next(iter(heard.values())))
    lines = [
        [
            SHOWN.get(name, name),
            *(f"[{file[name].name}]({link(file[name], folder)})" for file in heard.values()),
        ]
        for name in systems
    ]
    return aligned(["system", *heard], lines)


def settings(experiments: Sequence[Mapping]) -> list[str]:
    """The lines that show each experiment's `config`, folded up."""
    lines = []
    for e in experiments:
        text = yaml.safe_dump(e["config"], sort_keys=False, allow_unicode=True, width=100).strip()
        lines += [f"<details><summary>settings of {e['name']}</summary>", "", "```yaml", text, "```", ""]
        lines += ["</details>", ""]
    return lines
