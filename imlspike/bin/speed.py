"""Add faster and slower copies to a data directory.

python -m imlspike.bin.speed data/train --output-dir data/train_sp --factors 0.9 1.0 1.1 --nj 8
"""

import argparse
import sys
from pathlib import Path

from imlspike.data.format import perturb_speed
from imlspike.data.progress import Progress


def main(argv: list[str] | None = None) -> int:
    """Write a data directory that holds another one once at each speed; what an earlier run has written is
    kept."""
    parser = argparse.ArgumentParser(prog="imlspike speed", description=main.__doc__)
    add = parser.add_argument
    add("data_dir", type=Path)
    add("--output-dir", type=Path, required=True)
    add("--factors", type=float, nargs="+", default=[0.9, 1.0, 1.1])
    add("--audio-format", choices=("flac", "wav"), default="wav")
    add("--sampling-rate", type=int, default=16000, help="Hz (default 16000)")
    add("--max-left-out", type=float, default=0.05, help="share of copies (default 0.05)")
    add("--nj", type=int, default=1, help="processes (default 1)")
    args = vars(parser.parse_args(argv))
    try:
        utterances = perturb_speed(**args, progress=Progress("speed"))
    except (RuntimeError, ValueError, OSError) as error:
        print(f"speed: {error}", file=sys.stderr)
        return 1
    minutes, factors = sum(u.seconds for u in utterances) / 60, args["factors"]
    print(f"{args['output_dir']}: {len(utterances)} utterances, {minutes:.1f} minutes, factors {factors}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
