"""The table of an ablation list: error rates over seeds, their spread, differences to the base."""

import argparse
import json
import sys
from pathlib import Path

from imlspike.analysis.ablation_list import Run, read_list
from imlspike.data.files import atomic_write

NOTES = """\
{measure} by {decoding} decoding: mean ± standard deviation over seeds (lowest to highest). "Less the
base's": in points, each seed less the base's of the same seed, so positive is worse. "Beyond the spread":
the mean of these differences is larger than their standard deviation. s / epoch: median time of a training
epoch. Parameters: while training, branches not folded. Spikes: mean of a neuron for one token, where they
were counted.
"""


def main(argv=None) -> int:
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
    add("--quiet", action="store_true", help="write only")
    args = parser.parse_args(argv)
    try:
        seeds = [int(seed) for seed in args.seeds.split()]
        runs = read_list(args.list, seeds, args.folder, (".", args.recipe, args.root))
        if args.exp_dir is None:
            print(*(planned(run, Path(args.root)) for run in runs), sep="\n")
            return 0
        return write_table(runs, args)
    except (OSError, ValueError) as error:
        print(f"ablations: {error}", file=sys.stderr)
        return 1


def planned(run: Run, root: Path) -> str:
    """A run as a line: experiment, ablation, seed, override (``-``: none; paths from `root` if inside).

    >>> planned(Run("base", None, 1), Path("."))
    'base_s1\\tbase\\t1\\t-'
    """
    override = "-"
    if run.override is not None:
        path, root = run.override.resolve(), root.resolve()
        override = path.relative_to(root) if path.is_relative_to(root) else path
    return f"{run.name}\t{run.ablation}\t{run.seed}\t{override}"


def write_table(runs: list[Run], args: argparse.Namespace) -> int:
    """Write the two files of what the runs came to and print the table, unless `args.quiet`. Returns 0."""
    from imlspike.analysis.ablations import collect, sentences, table
    from imlspike.bin.report import surroundings

    results = collect(runs, args.exp_dir, args.measure, args.decoding)
    about = {"command": args.command, **surroundings()}
    shown, said = table(results), sentences(results)
    output_dir = args.output_dir or args.exp_dir / "ablations"
    output_dir.mkdir(parents=True, exist_ok=True)
    report, data = output_dir / "RESULTS.md", output_dir / "results.json"
    with atomic_write(report) as out:
        out.write(markdown(shown, said, about, results))
    with atomic_write(data) as out:
        out.write(json.dumps(about | results, indent=1, ensure_ascii=False) + "\n")
    if not args.quiet:
        print(f"\n{shown}\n", *said, f"\nresults: {report} {data}", sep="\n")
    return 0


def markdown(shown: str, said: list[str], about: dict, results: dict) -> str:
    """The text of RESULTS.md."""
    from imlspike.bin.report import made_on

    notes = NOTES.format(measure=results["measure"].upper(), decoding=results["decoding"])
    seeds = sorted({run["seed"] for run in results["runs"]})
    sources = sorted({run["source"] or "unknown" for run in results["runs"]})
    lines = ["# Ablations", "", shown, "", notes, *(f"- {sentence}" for sentence in said)]
    lines += ["", "## How", "", f"- command: `{about['command']}`"]
    lines += [f"- seeds: {', '.join(map(str, seeds))}"]
    lines += [f"- git: {', '.join(sources)} (of the trainings), {about['git']} (of this table)"]
    return "\n".join([*lines, *made_on(about), ""])


if __name__ == "__main__":
    sys.exit(main())
