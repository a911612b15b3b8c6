"""Gather scores, pictures, sound, firing rates and energy of vocoders into one Markdown report.

imlspike report-vocoder exp/ann exp/tsm_kd --scores exp/scores --output exp/RESULTS.md
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from imlspike.analysis.report_parts import rates_table, twin_table
from imlspike.analysis.vocoder_measures import MEASURES
from imlspike.analysis.vocoder_report import energy_table, gather, sentences, training_table
from imlspike.analysis.vocoder_table import score_notes, scores_table
from imlspike.bin._report import copy_pictures, copy_sounds, draw, settings, show, sound_table
from imlspike.bin.report import made_on, surroundings
from imlspike.data.files import atomic_write

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


def markdown(
    scores: Mapping, experiments: Sequence[Mapping], heard, pictures, about: Mapping, folder: Path
) -> str:
    """The text of the report, which will lie in `folder`."""
    notes = [f"- {note}" for note in score_notes(scores)]
    lines = ["# Vocoders", "", "## Scores", "", scores_table(scores), "", *notes, ""]
    if gaps := twin_table(scores, MEASURES):
        lines += [f"Differences to {scores['twin']}, the same utterances drawn for both:", "", gaps, ""]
    measured = [e for e in experiments if e["energy"]]
    if measured:
        energy = measured[0]["energy"]
        given = {"utterances": energy["utterances"], "threads": energy["speed"]["threads"]}
        lines += ["## Firing rates and energy", "", energy_table(measured, scores["twin"]), ""]
        lines += [ENERGY_NOTES.format(**energy["costs_pj"], **given), ""]
    lines += [*(f"- {sentence}" for sentence in sentences(experiments, scores)), ""]
    if rates := rates_table(experiments, "backbone."):
        lines += ["Firing rates of the layers in %:", "", rates, ""]
    lines += ["## To hear", "", sound_table(heard, folder), "", "## To see", ""]
    lines += show(pictures, folder)
    return "\n".join([*lines, "## How", "", *made(experiments, scores, about)])


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
    return lines + settings(experiments)


if __name__ == "__main__":
    sys.exit(main())
