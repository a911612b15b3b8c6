"""Gather scores, pictures, sound, firing rates and energy of vocoders into one Markdown report.

imlspike report-vocoder exp/ann exp/tsm_kd --scores exp/scores --output exp/RESULTS.md
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import yaml

from imlspike.analysis.results import aligned
from imlspike.analysis.vocoder_report import (
    energy_table,
    gather,
    rates_table,
    sentences,
    training_table,
    twin_table,
)
from imlspike.analysis.vocoder_scores import NATURAL
from imlspike.analysis.vocoder_table import SHOWN, score_notes, scores_table
from imlspike.bin.report import made_on, surroundings
from imlspike.data.audio import read_audio
from imlspike.data.files import atomic_write
from imlspike.data.kaldi import read_data_dir

ENERGY_NOTES = """\
T: time steps, or levels of the IMLS neuron. Firing rate: spikes over those possible; "mean of layers" counts
each neuron layer alike (r of equation 16). "eqs 15, 16": the paper's reckoning at L = 1000 frames with that
rate, for the blocks' convolutions, which is all that its table 3 counts; "with ends": with the embedding and
the head, which equations 15 and 16 leave out; the shares are of these two. µJ/s: microjoules per second of
audio, backbone / whole model, from operations counted on {utterances} utterances, at {mac} pJ a MAC,
{accumulate} pJ an accumulate and {int8_mac} pJ an 8-bit MAC (45 nm). "paper": linear maps and convolutions;
"full": everything that runs; "int8": the same shape as a dense 8-bit ANN. The twin's int8 figure is the
bit-matched baseline for a spiking model's full one. Memory traffic isn't counted. s per s: seconds that mel
to waveform takes for a second of audio, {threads} thread(s)."""


def main(argv=None) -> int:
    """Write the report, results.json and a folder of sound and pictures. Returns the exit status."""
    args = parse(argv)
    try:
        report = args.scores / "scores.json"
        if not report.is_file():
            raise ValueError(f"{report}: no such file; `imlspike score-vocoder` writes it")
        scores = json.loads(report.read_text(encoding="utf-8"))
        experiments = [gather(folder) for folder in args.experiments]
        args.output.parent.mkdir(parents=True, exist_ok=True)
        heard = copy_sounds(scores, args.output, args.samples)
        pictures = draw(scores, heard, args.output) + copy_pictures(args.experiments, args.output)
    except (OSError, ValueError) as error:
        print(f"report-vocoder: {error}", file=sys.stderr)
        return 1
    about = {"command": args.command, **surroundings()}
    data = args.output.with_name(args.output.stem.lower() + ".json")
    for path, text in (
        (args.output, markdown(scores, experiments, heard, pictures, about, args.output.parent)),
        (data, json.dumps(about | {"scores": scores, "experiments": experiments}, indent=1)),
    ):
        with atomic_write(path) as out:
            out.write(text + "\n")
    print(f"\n{scores_table(scores)}\n\n{energy_table(experiments, scores['twin'])}\n")
    for sentence in sentences(experiments, scores):
        print(sentence)
    print(f"\nresults: {args.output} {data}")
    return 0


def parse(argv):
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="imlspike report-vocoder", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("experiments", nargs="*", type=Path, help="experiment folders, profiled; named as in the scores")
    add("--scores", type=Path, required=True, help="folder that `imlspike score-vocoder` wrote")
    add("--samples", type=int, default=2, help="utterances to hear and see (default: %(default)s)")
    add("--command", default="", help="the command that made all this")
    add("--output", type=Path, default=Path("RESULTS.md"), help="Markdown file (default: %(default)s)")
    return parser.parse_args(argv)


def folder_of(output: Path) -> Path:
    """Where sound and pictures go: RESULTS_files beside RESULTS.md."""
    return output.with_name(f"{output.stem}_files")


def copy_sounds(scores: Mapping, output: Path, samples: int) -> dict[str, dict[str, Path]]:
    """Copies of some utterances' audio of all systems, spread over the set: utterance to system to file.

    Raises:
        ValueError: if a system's audio isn't where it was scored.
    """
    utterances = {u.id: u.wav for u in read_data_dir(scores["data_dir"])}
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
    """Spectrograms of what was copied, one an utterance: (caption, file) each."""
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


def copy_pictures(experiments: Sequence[Path], output: Path) -> list[tuple[str, Path]]:
    """Firing rates and rasters that `imlspike profile` drew: (caption, copy) each."""
    found = []
    for folder in experiments:
        for name, caption in (
            ("firing_rates", "Firing rate by depth"),
            ("raster", "Spikes of one utterance"),
        ):
            source = folder / "profile" / f"{name}.png"
            if source.is_file():
                target = folder_of(output) / f"{folder.name}_{name}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                found.append((f"{caption}, {folder.name}", copy(source, target)))
    return found


def markdown(
    scores: Mapping, experiments: Sequence[Mapping], heard, pictures, about: Mapping, folder: Path
) -> str:
    """The text of the report, which will lie in `folder`."""
    notes = [f"- {note}" for note in score_notes(scores)]
    lines = ["# Vocoders", "", "## Scores", "", scores_table(scores), "", *notes, ""]
    if gaps := twin_table(scores):
        lines += [f"Differences to {scores['twin']}, the same utterances drawn for both:", "", gaps, ""]
    measured = [e for e in experiments if e["energy"]]
    if measured:
        energy = measured[0]["energy"]
        given = {"utterances": energy["utterances"], "threads": energy["speed"]["threads"]}
        lines += ["## Firing rates and energy", "", energy_table(measured, scores["twin"]), ""]
        lines += [ENERGY_NOTES.format(**energy["costs_pj"], **given), ""]
    lines += [*(f"- {sentence}" for sentence in sentences(experiments, scores)), ""]
    if rates := rates_table(experiments):
        lines += ["Firing rates of the layers in %:", "", rates, ""]
    lines += ["## To hear", "", sound_table(heard, folder), "", "## To see", ""]
    for caption, path in pictures:
        lines += [f"![{caption}]({link(path, folder)})", ""]
    return "\n".join([*lines, "## How", "", *made(experiments, scores, about)])


def link(path: Path, folder: Path) -> str:
    """A file as a report in `folder` names it."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


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


def made(experiments: Sequence[Mapping], scores: Mapping, about: Mapping) -> list[str]:
    """What the results were made with: command, trainings, seeds, versions, source, machine, settings."""
    lines = [f"- command: `{about['command'].strip()}`"] if about["command"] else []
    lines += [f"- git: {about['git']} (of this report)"]
    lines += [
        f"- bootstrap: {scores['bootstrap']['resamples']} resamples, seed {scores['bootstrap']['seed']}"
    ]
    lines += [*made_on({**about, "versions": about["versions"] | scores["versions"]}), ""]
    if experiments:
        lines += [training_table(experiments), ""]
    for e in experiments:
        settings = yaml.safe_dump(e["config"], sort_keys=False, allow_unicode=True, width=100).strip()
        lines += [f"<details><summary>settings of {e['name']}</summary>", "", "```yaml", settings, "```", ""]
        lines += ["</details>", ""]
    return lines


if __name__ == "__main__":
    sys.exit(main())
