"""The table of an ablation list: error rates over seeds, their spread, differences to the base."""

import argparse
from pathlib import Path

from imlspike.bin._command import command
from imlspike.data.progress import Progress
from imlspike.evaluation.ablations import Run, collect, read_list, sentences, table
from imlspike.evaluation.experiments import made_on, surroundings
from imlspike.evaluation.tables import write_files

NOTES = """\
{measure} by {decoding} decoding: mean ± standard deviation over seeds (lowest to highest). "Less the base's":
in points, each seed less the base's of the same seed, so positive is worse. "Beyond the spread": the mean of
these differences is larger than their standard deviation. s / epoch: median time of a training epoch.
Parameters: while training, branches not folded. Spikes: mean of a neuron for one token, where they were
counted.
"""


def planned(run: Run, root: Path) -> str:
    """A run as a line: experiment, ablation, seed, override (``-``: none; paths from `root` if inside).

    >>> planned(Run("base", None, 1), Path("."))
    'base_s1\\tbase\\t1\\t-'
    """
    override: str | Path = "-"
    if run.override is not None:
        path, root = run.override.resolve(), root.resolve()
        override = path.relative_to(root) if path.is_relative_to(root) else path
    return f"{run.name}\t{run.ablation}\t{run.seed}\t{override}"


def markdown(shown: str, about: dict, results: dict) -> str:
    """The text of RESULTS.md."""
    notes = NOTES.format(measure=results["measure"].upper(), decoding=results["decoding"])
    seeds = ", ".join(map(str, sorted({run["seed"] for run in results["runs"]})))
    sources = ", ".join(sorted({run["source"] or "unknown" for run in results["runs"]}))
    lines = ["# Ablations", "", shown, "", notes, *(f"- {sentence}" for sentence in sentences(results))]
    lines += ["", "## How", "", f"- command: `{about['command']}`", f"- seeds: {seeds}"]
    lines += [f"- git: {sources} (of the trainings), {about['git']} (of this table)", *made_on(about), ""]
    return "\n".join(lines)


@command
def main(argv=None) -> None:
    """Print the runs of a list, or write RESULTS.md and results.json of them. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="imlspike ablations",
        description=main.__doc__,
        epilog="Without --exp-dir it prints the runs, a line each: experiment, ablation, seed, override. The "
        "runs are made by egs/<corpus>/asr1/ablate.sh.",
    )
    add = parser.add_argument
    add("--list", required=True, help="'NAME ... [: SEED ...]', or a file of such lines")
    add("--seeds", default="0", help="seeds of lines that name none (default: %(default)s)")
    add("--folder", default="conf/ablations", help="where NAME.yaml is (default: %(default)s)")
    add("--recipe", default=".", help="folder from which paths may start as well")
    add("--root", default=".", help="and another, the project's")
    add("--exp-dir", type=Path, help="folder of the experiments")
    add("--output-dir", type=Path, help="where the two files go (default: ablations in --exp-dir)")
    add("--measure", choices=("cer", "wer"), default="cer", help="(default: %(default)s)")
    add("--decoding", default="greedy", help="which decoding counts (default: %(default)s)")
    add("--command", default="", help="the command that made the runs, for the record")
    args = parser.parse_args(argv)
    seeds = [int(seed) for seed in args.seeds.split()]
    runs = read_list(args.list, seeds, args.folder, (".", args.recipe, args.root))
    if args.exp_dir is None:
        print(*(planned(run, Path(args.root)) for run in runs), sep="\n")
        return
    results = collect(runs, args.exp_dir, args.measure, args.decoding)
    about, shown = {"command": args.command, **surroundings()}, table(results) or "No run is complete."
    folder = args.output_dir or args.exp_dir / "ablations"
    text = markdown(shown, about, results)
    files = write_files({folder / "RESULTS.md": text, folder / "results.json": about | results})
    if not Progress.quiet:
        print(f"\n{shown}\n", *sentences(results), f"\nresults: {' '.join(map(str, files))}", sep="\n")
