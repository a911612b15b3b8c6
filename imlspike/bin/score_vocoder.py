"""Score the audio of vocoders: another name of `imlspike score`."""

from imlspike.bin.score import main

if __name__ == "__main__":
    raise SystemExit(main())
