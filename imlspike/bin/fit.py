"""Leave out the utterances that CTC, or a voice, can't be trained on.

python -m imlspike.bin.fit data/train --output-dir dump/train --input-layer conv2d
"""

import argparse
import sys
from pathlib import Path

from imlspike.data.filter_lengths import SUBSAMPLING, VOICE, filter_data_dir
from imlspike.text.tokens import load_tokenizer

SHOWN = 20  # of those left out; excluded.tsv has them all


def main(argv: list[str] | None = None) -> int:
    """Copy a data directory without the utterances that are too short for their transcript after the
    encoder's subsampling or outside the limits of duration; these are named, counted and listed in
    excluded.tsv."""
    parser = argparse.ArgumentParser(prog="imlspike fit", description=main.__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--bpe-model", type=Path, help="tokens are its pieces; without it, characters")
    parser.add_argument(
        "--input-layer",
        choices=(*SUBSAMPLING, VOICE, "none"),
        default="conv2d",
        help="the encoder's (default %(default)s); voice: the text is symbols, each spoken for a frame or "
        "more; none: look at durations only",
    )
    parser.add_argument("--min-seconds", type=float, default=0.0)
    parser.add_argument("--max-seconds", type=float, default=float("inf"))
    parser.add_argument("--sampling-rate", type=int, default=16000, help="Hz (default 16000)")
    parser.add_argument("--hop", type=int, default=160, help="hop of the features, in samples (default 160)")
    args = parser.parse_args(argv)
    limits = {name: getattr(args, name) for name in ("input_layer", "min_seconds", "max_seconds", "hop")}
    if args.input_layer == "none":
        limits["input_layer"] = None
    try:
        tokenize = str.split if args.input_layer == VOICE else load_tokenizer(args.bpe_model)
        kept, reasons = filter_data_dir(
            args.data_dir, args.output_dir, tokenize, sampling_rate=args.sampling_rate, **limits
        )
    except (ValueError, OSError) as error:
        print(f"fit: {error}", file=sys.stderr)
        return 1
    for utt, reason in sorted(reasons.items())[:SHOWN]:
        print(f"left out {utt}: {reason}")
    if len(reasons) > SHOWN:
        print(f"left out {len(reasons) - SHOWN} more, see {args.output_dir}/excluded.tsv")
    print(f"{args.output_dir}: {len(kept)} utterances, {len(reasons)} left out (listed in excluded.tsv)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
