"""Running ESPnet's command lines with imlspike registered."""

from collections.abc import Sequence
from importlib import import_module

from imlspike.espnet import register


def run_espnet(name: str, argv: Sequence[str] | None = None) -> None:
    """Run `espnet2.bin.<name>` with the arguments `argv` (default: the command line) after `register()`.

    >>> run_espnet("asr_train", ["--help"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    SystemExit: 0
    """
    register()
    import_module(f"espnet2.bin.{name}").main(argv)
