"""`python -m imlspike VERB ...`, which is `imlspike VERB ...` where its folder isn't on the PATH."""

import sys

from imlspike.bin.main import main

if __name__ == "__main__":
    sys.exit(main())
