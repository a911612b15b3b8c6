"""Leave out the utterances that CTC, or a voice, can't be trained on.

imlspike fit data/train --output-dir dump/train --input-layer conv2d
"""

import argparse
from pathlib import Path

from imlspike.bin._command import command, number
from imlspike.bin._files import output_dir
from imlspike.data.filter_lengths import EACH_FRAME, SUBSAMPLING, VOICE, filter_data_dir
from imlspike.text.tokens import load_tokenizer

SHOWN = 20  # of those left out; excluded.tsv has them all


@command
def main(argv: list[str] | None = None) -> None:
    """Copy a data directory without the utterances that are too short for their transcript after the
    encoder's subsampling or outside the limits of duration; these are named, counted and listed in
    excluded.tsv."""
    parser = argparse.ArgumentParser(prog="imlspike fit", description=main.__doc__)
    add = parser.add_argument
    add("data_dir", type=Path)
    add("--output-dir", type=output_dir, required=True)
    add("--bpe-model", type=Path, help="tokens are its pieces; without it, characters")
    add(
        "--input-layer",
        choices=(*SUBSAMPLING, EACH_FRAME[0], VOICE, "none"),
        default="conv2d",
        help="the encoder's (default %(default)s); linear: a token is a frame; voice: the text is symbols, "
        "each spoken for a frame or more; none: look at durations only",
    )
    add("--min-seconds", type=number(0, 1e9), default=0.0)
    add("--max-seconds", type=number(0, 1e9), default=float("inf"))
    add("--sampling-rate", type=number(1, 1e6, int), default=16000, help="Hz (default 16000)")
    add("--hop", type=number(1, 1e6, int), default=160, help="hop of the features, in samples (default 160)")
    args = vars(parser.parse_args(argv))
    source, out, layer, bpe = map(args.pop, ("data_dir", "output_dir", "input_layer", "bpe_model"))
    tokenize = str.split if layer == VOICE else load_tokenizer(bpe)
    layer = None if layer == "none" else layer
    kept, reasons = filter_data_dir(source, out, tokenize, input_layer=layer, **args)
    for utterance, reason in sorted(reasons.items())[:SHOWN]:
        print(f"left out {utterance}: {reason}")
    if len(reasons) > SHOWN:
        print(f"left out {len(reasons) - SHOWN} more, see {out}/excluded.tsv")
    print(f"{out}: {len(kept)} utterances, {len(reasons)} left out (listed in excluded.tsv)")
