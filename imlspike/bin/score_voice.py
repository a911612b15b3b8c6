"""Score the audio of voices: another name of `imlspike score`."""

from imlspike.bin.score import main

if __name__ == "__main__":
    raise SystemExit(main())
