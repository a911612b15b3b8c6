"""Report on vocoders: another name of `imlspike report`."""

import sys

from imlspike.bin.report import main

if __name__ == "__main__":
    sys.exit(main())
