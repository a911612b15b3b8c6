"""`python -m imlspike.espnet.asr_train`: ESPnet's `espnet2.bin.asr_train` with imlspike's models."""

from collections.abc import Sequence

from imlspike.espnet.entry import run_espnet


def main(argv: Sequence[str] | None = None) -> None:
    """Run ESPnet's `asr_train` with `argv` (default: the command line) after `register()`.

    >>> callable(main)
    True
    """
    run_espnet("asr_train", argv)


if __name__ == "__main__":
    main()
