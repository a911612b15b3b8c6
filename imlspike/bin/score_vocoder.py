"""Score the audio of vocoders: another name of `imlspike score`."""

import sys

from imlspike.bin.score import main

if __name__ == "__main__":
    sys.exit(main())
