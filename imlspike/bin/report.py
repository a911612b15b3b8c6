"""Gather experiments of recognizers, voices or vocoders into one report, RESULTS.md and results.json.

imlspike report exp/quick exp/quick_relu --output exp/RESULTS.md
imlspike report exp/ann exp/tsm_kd --scores exp/scores --output exp/RESULTS.md
"""

import argparse
from pathlib import Path

from imlspike.bin._command import command
from imlspike.bin._files import output_file
from imlspike.evaluation.attachments import attach
from imlspike.evaluation.experiments import gather, portable, read_json, surroundings
from imlspike.evaluation.report import compare, markdown, sentences
from imlspike.evaluation.report_tables import accountings_table, energy_table, rates_table
from imlspike.evaluation.score_tables import scores_table
from imlspike.evaluation.tables import write_files


def parse(argv) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="imlspike report", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("experiments", nargs="*", type=Path, help="experiment folders of one kind; the peers of X are X_...")
    add("--model", default="", help="model file whose energy and alignment count (default: the average)")
    add("--scores", type=Path, help="voices, vocoders: folder that `imlspike score` wrote")
    add("--twin", help="the ANN of the others (default: that of the scores, X_... of X, or the first ANN)")
    add("--data-dir", type=Path, help="Kaldi directory of the natural speech (default: the scores')")
    add("--samples", type=int, default=3, help="utterances to hear and see (default: %(default)s)")
    add("--primary", choices=("cer", "wer"), default="cer", help="the error rate that counts (default: cer)")
    add("--lm", type=Path, help="experiment folder of the language model that decoded")
    add("--command", default="", help="the command that made all this")
    add("--output", type=output_file, default="RESULTS.md", help="Markdown file (default: %(default)s)")
    return parser.parse_args(argv)


@command
def main(argv=None) -> None:
    """Write the report, its data, sound and pictures; print tables and sentences. Returns the exit status."""
    args = parse(argv)
    if args.lm and not args.lm.is_dir():
        raise ValueError(f"--lm {args.lm}: no such folder; expected the experiment of a language model")
    scores = None
    if args.scores and (scores := read_json(args.scores / "scores.json")) is None:
        raise ValueError(f"{args.scores}/scores.json: no such file; `imlspike score` writes it")
    experiments = [gather(folder, args.model) for folder in args.experiments]
    if len(kinds := {e["kind"] for e in experiments} | ({scores["kind"]} if scores else set())) != 1:
        raise ValueError(f"{' and '.join(sorted(kinds)) or 'nothing'} to report; expected models of one kind")
    twin = args.twin or (scores or {}).get("twin")
    comparisons = compare(experiments, args.primary, twin)
    folders = {folder: e["suffix"] for folder, e in zip(args.experiments, experiments, strict=True)}
    attached = attach(folders, scores, args.output, args.samples, args.data_dir)
    about = {"command": args.command, "primary": args.primary, "twin": twin, **surroundings()}
    if args.lm:
        perplexity = args.lm / "perplexity" / "ppl"  # of a token, as the recipe measured it
        value = float(perplexity.read_text()) if perplexity.is_file() else None
        about["lm"] = {"name": args.lm.name, "perplexity": value}
    data = {"experiments": experiments, "comparisons": comparisons, "scores": scores}
    data = portable(data)
    text = markdown(**data, about=about, attached=attached, folder=args.output.parent)
    data_file = args.output.with_name(args.output.stem.lower() + ".json")
    write_files({args.output: text + "\n", data_file: about | data})
    table = scores_table(scores) if scores else rates_table(experiments, comparisons, args.primary)
    print("", table, "", energy_table(experiments, twin), "", accountings_table(experiments), "", sep="\n")
    print(*sentences(experiments, comparisons, scores), f"\nresults: {args.output} {data_file}", sep="\n")
