"""Add faster and slower copies to a data directory.

    python -m imlspike.bin.speed data/train --output-dir data/train_sp --factors 0.9 1.0 1.1
"""

import argparse
import sys
from pathlib import Path

from imlspike.data.speed import perturb_speed


def main(argv: list[str] | None = None) -> int:
    """Write a data directory that holds another one once at each speed."""
    parser = argparse.ArgumentParser(prog="imlspike speed", description=main.__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--factors", type=float, nargs="+", default=[0.9, 1.0, 1.1])
    args = parser.parse_args(argv)
    try:
        utterances = perturb_speed(args.data_dir, args.output_dir, args.factors, progress=_progress)
    except (ValueError, OSError) as error:
        print(f"speed: {error}", file=sys.stderr)
        return 1
    minutes = sum(u.seconds for u in utterances) / 60
    print(f"{args.output_dir}: {len(utterances)} utterances, {minutes:.1f} minutes, factors {args.factors}")
    return 0


def _progress(done: int, total: int) -> None:
    if done == total or done % 100 == 0:
        print(f"speed {done}/{total} recordings", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
