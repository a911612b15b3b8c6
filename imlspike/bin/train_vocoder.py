"""Train a vocoder: Spiking Vocos, or Vocos itself, from Kaldi data directories.

`imlspike train-vocoder --config conf/voc_small.yaml --exp-dir exp/plif --train-dir data/train --valid-dir
data/valid generator.steps=8`. The same command goes on with a training that was interrupted.
"""

import signal
import sys
import threading
from collections.abc import Sequence

from imlspike.bin._command import command


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``imlspike train-vocoder``. Returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Lightning ends a training by it, after a checkpoint
    try:
        from imlspike.training.config import read_config
        from imlspike.training.run import train

        config, options = read_config(argv)
        train(config, options["exp_dir"], options["resume"], ["imlspike", "train-vocoder", *argv])
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; pip install 'imlspike[vocoder]'") from error
