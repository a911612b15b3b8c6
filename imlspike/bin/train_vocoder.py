"""Train a vocoder: Spiking Vocos, or Vocos itself, from Kaldi data directories.

`imlspike train-vocoder --config conf/voc_small.yaml --exp-dir exp/plif --train-dir data/train --valid-dir
data/valid generator.steps=8`. The same command goes on with a training that was interrupted.
"""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of ``imlspike train-vocoder``. Returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        from imlspike.training.config import read_config
        from imlspike.training.run import train
    except ModuleNotFoundError as error:
        print(f"train-vocoder: {error}; pip install 'imlspike[vocoder]'", file=sys.stderr)
        return 1
    try:
        config, options = read_config(argv)
        command = ["imlspike", "train-vocoder", *argv]
        train(config, options["exp_dir"], options["resume"], command)
    except ModuleNotFoundError as error:
        print(f"train-vocoder: {error}; pip install 'imlspike[vocoder]'", file=sys.stderr)
        return 1
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"train-vocoder: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
