"""Gather scores, alignment, pictures, sound, firing rates and energy of voices into one Markdown report.

imlspike report-voice exp/ann exp/spikevoice --scores exp/scores --output exp/RESULTS.md
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imlspike.analysis.report_parts import rates_table, read_json, twin_table
from imlspike.analysis.voice_measures import MEASURES
from imlspike.analysis.voice_report import (
    aims,
    alignment_table,
    energy_table,
    gather,
    modules_table,
    portable,
    sentences,
    synthesis_table,
    training_table,
)
from imlspike.analysis.voice_table import score_notes, scores_table
from imlspike.bin._report import (
    copy_pictures,
    copy_sounds,
    draw,
    folder_of,
    settings,
    show,
    sound_table,
)
from imlspike.bin.report import curves, made_on, surroundings
from imlspike.data.files import atomic_write

SYNTHESIS_NOTES = """\
How the systems spoke. free: durations, pitch and energy as predicted; forced: those of natural speech;
natural: the natural mel through the vocoder. s per s: seconds from text (or mel) to waveform for a second of
audio."""
ALIGNMENT_NOTES = """\
Boundaries between symbols where the aligner put them, against those of the labels; what is compared are the
boundaries of neighbouring phones that stand in both. The aligner learned from sound and text alone."""
TRAINING_NOTES = """\
Losses: of the validation set, in the epoch whose loss was lowest; mel behind the PostNet. s / epoch: median
time of a training epoch. Memory: most resident memory of the training."""
ENERGY_NOTES = """\
T: time steps, or levels of the IMLS neuron. Firing rate: spikes over those possible; "mean of layers" counts
each neuron layer alike. µJ/s: microjoules per second of the speech that comes out, symbols to mel, from
operations counted while {utterances} texts were spoken with predicted durations, at {mac} pJ a MAC,
{accumulate} pJ an accumulate and {int8_mac} pJ an 8-bit MAC (45 nm). "paper": linear maps and convolutions;
"full": everything that runs; "int8": the same shape as a dense 8-bit ANN. The twin's int8 figure is the
bit-matched baseline for a spiking model's full one. The aligner is a training aid and takes no part; memory
traffic and the vocoder aren't counted. s per s: seconds that symbols to mel take for a second of speech.
Speech: what came out in all; who speaks the same texts in less time pays more for them in a second."""
MODULE_NOTES = 'Firing rate of each module, then its energy, "paper" / "full", in µJ/s:'
ALIGNED = {"alignment/*.png": "Boundaries, found and labelled"}
CURVES = (("mel_post_loss", "mel loss"), ("duration_loss", "duration loss"))


def main(argv=None) -> int:
    """Write the report, results.json and a folder of sound and pictures. Returns the exit status."""
    args = parse(argv)
    try:
        scores = read_json(args.scores / "scores.json")
        if scores is None:
            raise ValueError(f"{args.scores}/scores.json: no such file; `imlspike score-voice` writes it")
        experiments = [gather(folder) for folder in args.experiments]
        folder_of(args.output).mkdir(parents=True, exist_ok=True)
        heard = copy_sounds(scores, args.output, args.samples, args.data_dir)
        pictures = draw(scores, heard, args.output) + copy_pictures(args.experiments, args.output)
        boundaries = copy_pictures(args.experiments, args.output, ALIGNED)
    except (OSError, ValueError) as error:
        print(f"report-voice: {error}", file=sys.stderr)
        return 1
    twin = args.twin or next((e["name"] for e in experiments if e["neuron"] == "none"), None)
    about = portable({"command": args.command, "twin": twin, **surroundings()})
    results = portable({"scores": scores, "experiments": experiments})
    drawn = curves(args.experiments, folder_of(args.output), CURVES)
    learning = [("Learning curves (dashed: training)", drawn)] if drawn else []
    said = aims(scores, experiments) + sentences(experiments, twin)
    shown = Shown(heard, pictures, boundaries, learning, said)
    data = args.output.with_name(args.output.stem.lower() + ".json")
    for path, text in (
        (args.output, markdown(**results, shown=shown, about=about, folder=args.output.parent)),
        (data, json.dumps(about | results, indent=1, ensure_ascii=False)),
    ):
        with atomic_write(path) as out:
            out.write(text + "\n")
    print(f"\n{scores_table(results['scores'])}\n\n{energy_table(experiments, twin)}\n")
    for sentence in said:
        print(sentence)
    print(f"\nresults: {args.output} {data}")
    return 0


@dataclass(frozen=True)
class Shown:
    """What a report shows and says besides its tables.

    Attributes:
        heard: utterance to system to audio file.
        pictures, boundaries, learning: (caption, file) of spectrograms and spikes, of alignments, of curves.
        said: sentences.
    """

    heard: Mapping[str, Mapping[str, Path]]
    pictures: Sequence[tuple[str, Path]]
    boundaries: Sequence[tuple[str, Path]]
    learning: Sequence[tuple[str, Path]]
    said: Sequence[str]


def parse(argv):
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="imlspike report-voice", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("experiments", nargs="*", type=Path, help="experiments, with profile/ and alignment/ in them")
    add("--scores", type=Path, required=True, help="folder that `imlspike score-voice` wrote")
    add("--twin", help="which experiment is the ANN (default: the first with neuron: none)")
    add("--data-dir", type=Path, help="Kaldi directory of the natural speech (default: the scores')")
    add("--samples", type=int, default=3, help="utterances to hear and see (default: %(default)s)")
    add("--command", default="", help="the command that made all this")
    add("--output", type=Path, default=Path("RESULTS.md"), help="Markdown file (default: %(default)s)")
    return parser.parse_args(argv)


def markdown(
    scores: Mapping,
    experiments: Sequence[Mapping],
    shown: Shown,
    about: Mapping,
    folder: Path,
) -> str:
    """The text of the report, which will lie in `folder`."""
    lines = ["# Voices", "", "## Scores", "", scores_table(scores), ""]
    lines += [*(f"- {note}" for note in score_notes(scores)), ""]
    if gaps := twin_table(scores, MEASURES):
        lines += [f"Differences to {scores['twin']}, the same utterances drawn for both:", "", gaps, ""]
    if synthesis := synthesis_table(scores):
        lines += [SYNTHESIS_NOTES, "", synthesis, ""]
    lines += [*(f"- {sentence}" for sentence in shown.said), ""]
    if aligned := alignment_table(experiments):
        lines += ["## Alignment", "", aligned, "", ALIGNMENT_NOTES, ""]
        lines += show(shown.boundaries, folder)
    lines += ["## Training", "", training_table(experiments), "", TRAINING_NOTES, ""]
    lines += show(shown.learning, folder)
    lines += energies(experiments, about["twin"])
    lines += ["## To hear", "", sound_table(shown.heard, folder), "", "## To see", ""]
    return "\n".join([*lines, *show(shown.pictures, folder), "## How", "", *made(experiments, scores, about)])


def energies(experiments: Sequence[Mapping], twin: str | None) -> list[str]:
    """The lines of firing rates and energy; none where nothing was profiled."""
    measured = [e["energy"] for e in experiments if e["energy"]]
    if not measured:
        return []
    notes = ENERGY_NOTES.format(**measured[0]["costs_pj"], utterances=measured[0]["utterances"])
    lines = ["## Firing rates and energy", "", energy_table(experiments, twin), "", notes, ""]
    lines += [MODULE_NOTES, "", modules_table(experiments), ""]
    if rates := rates_table(experiments):
        lines += ["<details><summary>firing rates of all layers in %</summary>", "", rates, ""]
        lines += ["</details>", ""]
    return lines


def made(experiments: Sequence[Mapping], scores: Mapping, about: Mapping) -> list[str]:
    """What the results were made with: commands, seeds, versions, source, machine, settings."""
    commands = dict.fromkeys([about["command"].strip(), *(e["command"] for e in experiments)])
    lines = [f"- command: `{command}`" for command in commands if command]
    lines += [f"- git: {about['git']} (of this report)"]
    lines += [f"- seeds: {', '.join(sorted({str(e['config'].get('seed')) for e in experiments}))} (training)"]
    lines += [
        f"- bootstrap: {scores['bootstrap']['resamples']} resamples, seed {scores['bootstrap']['seed']}"
    ]
    lines += [*made_on({**about, "versions": about["versions"] | scores["versions"]}), ""]
    return lines + settings(experiments)


if __name__ == "__main__":
    sys.exit(main())
