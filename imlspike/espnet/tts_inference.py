"""`python -m imlspike.espnet.tts_inference`: ESPnet's `espnet2.bin.tts_inference` with imlspike's models."""

from collections.abc import Sequence

from imlspike.espnet.entry import run_espnet


def main(argv: Sequence[str] | None = None) -> None:
    """Run ESPnet's `tts_inference` with `argv` (default: the command line) after `register()`.

    >>> callable(main)
    True
    """
    run_espnet("tts_inference", argv)


if __name__ == "__main__":
    main()
