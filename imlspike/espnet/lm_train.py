"""`python -m imlspike.espnet.lm_train`: ESPnet's `espnet2.bin.lm_train` with imlspike's safe checkpoints."""

from collections.abc import Sequence

from imlspike.espnet.entry import run_espnet


def main(argv: Sequence[str] | None = None) -> None:
    """Run ESPnet's `lm_train` with `argv` (default: the command line) after `register()`.

    >>> callable(main)
    True
    """
    run_espnet("lm_train", argv)


if __name__ == "__main__":
    main()
