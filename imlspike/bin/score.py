"""Score transcripts: `python -m imlspike.bin.score --ref data/test/text --hyp .../text --output-dir DIR`."""

import argparse
import sys

from imlspike.analysis.scoring import format_summary, score_files


def main(argv=None):
    """Print CER and WER; write `score.json` and `alignments.txt`. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m imlspike.bin.score",
        description="Character error rate (spaces count) and word error rate of a Kaldi text file, with "
        "a 95 % bootstrap interval over utterances. A missing hypothesis counts as deletions and is named.",
    )
    parser.add_argument("--ref", required=True, help="reference transcripts, a line: utterance word word ...")
    parser.add_argument("--hyp", required=True, help="the recogniser's transcripts, same form")
    parser.add_argument("--output-dir", required=True, help="where score.json and alignments.txt go")
    parser.add_argument("--name", default="", help="what to call this decoding in the table")
    parser.add_argument(
        "--no-spaces", action="store_true", help="take spaces out of both before, as for Mandarin"
    )
    parser.add_argument(
        "--resamples", type=int, default=10000, help="of the bootstrap (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        summary = score_files(
            args.ref, args.hyp, args.output_dir, args.name, args.resamples, args.seed, not args.no_spaces
        )
    except (OSError, ValueError) as error:
        print(f"score: {error}", file=sys.stderr)
        return 1
    print(format_summary(summary, args.name))
    if summary["missing"]:
        print(f"  no hypothesis, counted as all deletions: {' '.join(summary['missing'])}")
    print(f"  alignments and figures: {args.output_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
