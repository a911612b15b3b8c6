"""Report on vocoders: another name of `imlspike report`."""

from imlspike.bin.report import main

if __name__ == "__main__":
    raise SystemExit(main())
