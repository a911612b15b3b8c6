"""Gather the results of several experiments into one table and two files, RESULTS.md and results.json."""

import argparse
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import imlspike
from imlspike.analysis.results import compare, gather, sentences, table
from imlspike.data.files import atomic_write
from imlspike.data.origin import git_state

NOTES = """\
{characters} In brackets: 95 % intervals by bootstrap over the utterances of a set; the ratio to the ANN twin
is paired (the same utterances drawn for both). RTF: seconds that one process decodes for a second of audio,
without its start. s / epoch: median time of a training epoch. Memory: most resident memory of the training.
Parameters: of the whole model, re-parameterised layers folded. Spikes: mean of a neuron for one token."""

ENERGY_NOTES = """\
Energy: microjoules per second of audio, encoder / whole model, from operations counted on {utterances}
utterances, at {mac} pJ a MAC, {accumulate} pJ an accumulate and {int8_mac} pJ an 8-bit MAC (45 nm); the
model's for a beam of {beam}, without a language model. "paper": linear maps and convolutions; "full":
everything that runs; "int8": the same shape as a dense 8-bit ANN. The twin's int8 figure is the bit-matched
baseline for the spiking model's full one. Memory traffic isn't counted."""


def main(argv=None) -> int:
    """Write the files, print the table and where they are. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="imlspike report", description=__doc__)
    parser.add_argument(
        "experiments", nargs="+", type=Path, help="experiment folders; the twin of X is X_ann"
    )
    parser.add_argument(
        "--command", default="", help="the command that trained those that don't tell (in their file command)"
    )
    parser.add_argument(
        "--primary", choices=("cer", "wer"), default="cer", help="the error rate that counts (default: cer)"
    )
    parser.add_argument("--lm", type=Path, help="experiment folder of the language model that decoded")
    parser.add_argument(
        "--output", type=Path, default=Path("RESULTS.md"), help="Markdown file (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    try:
        experiments = [gather(folder) for folder in args.experiments]
        comparisons = compare(experiments, args.primary)
    except (OSError, ValueError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    about = {"command": args.command, "primary": args.primary, **surroundings()}
    if args.lm:
        about["lm"] = {"name": args.lm.name, "perplexity": perplexity(args.lm)}
    shown = table(experiments, comparisons, args.primary)
    said = sentences(comparisons)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    data = args.output.with_suffix(".json").with_stem(args.output.stem.lower())
    with atomic_write(args.output) as out:
        out.write(markdown(shown, said, about, experiments))
    with atomic_write(data) as out:
        results = about | {"experiments": experiments, "comparisons": comparisons}
        out.write(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    figure = curves(args.experiments, args.output.parent)
    print(f"\n{shown}\n")
    for sentence in said:
        print(sentence)
    print(f"\nresults: {args.output} {data}{f' {figure}' if figure else ''}")
    return 0


def markdown(shown: str, said: list[str], about: dict, experiments: list[dict]) -> str:
    """The text of the Markdown file."""
    lines = ["# Results", "", shown, "", notes(experiments), ""]
    lines += [f"- {sentence}" for sentence in said]
    for experiment in experiments:
        for score in experiment["scores"]:
            if score["missing"]:
                names = " ".join(score["missing"])
                where = f"{experiment['name']}, {score['decoding']}, {score['set']}"
                lines.append(f"- {where}: no hypothesis for {names}")
    return "\n".join([*lines, "", "## How", "", *made(about, experiments), ""])


def notes(experiments: list[dict]) -> str:
    """What the columns of the table mean."""
    spaces = all(s["characters_include_space"] for e in experiments for s in e["scores"])
    characters = "CER counts the spaces between words." if spaces else "CER leaves spaces out of account."
    said = NOTES.format(characters=characters)
    costs = next((e["energy"] for e in experiments if e["energy"]), None)
    if costs is None:
        return said
    energy = ENERGY_NOTES.format(**costs["costs_pj"], beam=costs["beam"], utterances=costs["utterances"])
    return f"{said}\n{energy}"


def made(about: dict, experiments: list[dict]) -> list[str]:
    """A list of what the results were made with: command, seed, versions, source, machine."""
    commands = dict.fromkeys(e["command"] or about["command"] for e in experiments)
    lines = [f"- command: `{command}`" for command in commands]
    if "lm" in about:
        value = about["lm"]["perplexity"]
        lines += [f"- language model: {about['lm']['name']}" + (f", perplexity {value:.1f}" if value else "")]
    lines += [f"- seed: {', '.join(sorted({str(e['seed']) for e in experiments}))}"]
    return [*lines, f"- git: {about['git']}", *made_on(about)]


def made_on(about: dict) -> list[str]:
    """The lines of versions and machine of what `surroundings` gave."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    machine = f"{about['cpu']}, {about['cores']} cores, {about['system']}"
    return [f"- versions: {versions}", f"- machine: {machine}"]


def perplexity(lm: Path) -> float | None:
    """What stage 8 measured for a language model: perplexity of a token, or None."""
    file = lm / "perplexity" / "ppl"
    return float(file.read_text()) if file.is_file() else None


def surroundings() -> dict:
    """Versions, state of the source and machine."""
    return {
        "versions": {"imlspike": imlspike.__version__, "python": platform.python_version()}
        | {name: _version(name) for name in ("torch", "espnet", "jiwer")},
        "git": git_state(Path(imlspike.__file__).parent),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
    }


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cpu_model() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def curves(folders, output_dir, panels=None) -> Path | None:
    """Learning curves of all experiments that have a training log; None without matplotlib or logs.

    `panels` as for `imlspike.analysis.plots.plot_learning_curves`; default: a recogniser's.
    """
    from imlspike.analysis.training_log import read_epochs

    trainings = {f.name: read_epochs(f / "train.log") for f in folders if (f / "train.log").is_file()}
    try:
        from imlspike.analysis.plots import plot_learning_curves

        if any(trainings.values()):
            picture = output_dir / "learning_curves.png"
            plot_learning_curves({n: e for n, e in trainings.items() if e}, picture, panels)
            return picture
    except ImportError:
        print("no learning curves: matplotlib is not installed", file=sys.stderr)
    return None


if __name__ == "__main__":
    sys.exit(main())
