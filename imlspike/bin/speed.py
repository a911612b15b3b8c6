"""Add faster and slower copies to a data directory.

imlspike speed data/train --output-dir data/train_sp --factors 0.9 1.0 1.1 --nj 8
"""

import argparse
from pathlib import Path

from imlspike.bin._command import command
from imlspike.bin._files import output_dir
from imlspike.data.format import perturb_speed
from imlspike.data.progress import Progress


@command
def main(argv: list[str] | None = None) -> None:
    """Write a data directory that holds another one once at each speed; what an earlier run has written is
    kept."""
    parser = argparse.ArgumentParser(prog="imlspike speed", description=main.__doc__)
    add = parser.add_argument
    add("data_dir", type=Path)
    add("--output-dir", type=output_dir, required=True)
    add("--factors", type=float, nargs="+", default=[0.9, 1.0, 1.1])
    add("--audio-format", choices=("flac", "wav"), default="wav")
    add("--sampling-rate", type=int, default=16000, help="Hz (default 16000)")
    add("--max-left-out", type=float, default=0.05, help="share of copies (default 0.05)")
    add("--nj", type=int, default=1, help="processes (default 1)")
    args = parser.parse_args(argv)
    utterances = perturb_speed(**vars(args), progress=Progress("speed"))
    minutes = sum(u.seconds for u in utterances) / 60
    print(f"{args.output_dir}: {len(utterances)} utterances, {minutes:.1f} minutes, factors {args.factors}")
