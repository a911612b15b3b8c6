"""The console script ``imlspike``: ``imlspike <verb> [options]`` runs ``imlspike.bin.<verb>``.

A verb's module is imported only when that verb is run, so ``imlspike --help`` stays quick. Verbs are spelled
with dashes, modules with underscores. What libraries warn of is shown only with --verbose, or if the
environment variable IMLSPIKE_WARNINGS is 1.
"""

import ast
import atexit
import difflib
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from imlspike.bin._command import EPILOG, pipe_closed


def verbs() -> dict[str, str]:
    """Every verb with the first line of its module's docstring, read without importing the module.

    >>> "info" in verbs() and "main" not in verbs()
    True
    """
    found = {}
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        if path.stem != "main":
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            found[path.stem.replace("_", "-")] = docstring.partition("\n")[0]
    return found


def silence_libraries() -> None:
    """Hide the warnings of everything but imlspike, in this process and in those that it starts.

    To be called before libraries are imported, as many warn then. Covers Python's `warnings`, `logging` and
    what PyTorch writes from C++.
    """
    warnings.simplefilter("ignore")
    warnings.filterwarnings("default", module="imlspike")
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger("imlspike").setLevel(logging.WARNING)
    os.environ |= {"PYTHONWARNINGS": "ignore", "TORCH_CPP_LOG_LEVEL": "ERROR"}


def give_numba_a_cache() -> None:
    """Let numba, which librosa needs, keep what it compiles where neither home nor installation is writable.

    It raises RuntimeError otherwise. The folder is of this process alone, and goes with it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    place = next(folder for folder in (cache, *cache.parents, Path("/")) if folder.is_dir())
    if not os.access(place, os.W_OK) and "NUMBA_CACHE_DIR" not in os.environ:
        os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="imlspike-")
        atexit.register(shutil.rmtree, os.environ["NUMBA_CACHE_DIR"], ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status (None counts as 0); 2 for a missing or unknown verb.

    Args:
        argv: the arguments after the program's name; None: those of the process, which then is taken to be
            imlspike's own, so that libraries' warnings are hidden.

    >>> main(["--help"]) == 0
    usage: ...
    True
    """
    try:
        try:
            return run(argv)
        finally:  # of --help, too, which is a SystemExit
            sys.stdout.flush()
    except BrokenPipeError:
        return pipe_closed()


def run(argv: Sequence[str] | None) -> int:
    """See `main`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None and os.environ.get("IMLSPIKE_WARNINGS") != "1" and "--verbose" not in words:
        silence_libraries()
    if argv is None:
        give_numba_a_cache()
    verb, *rest = words or [""]
    known = verbs()
    if verb in known:
        return import_module(f"imlspike.bin.{verb.replace('-', '_')}").main(rest) or 0
    if verb in ("", "-h", "--help"):
        lines = ["usage: imlspike <verb> [options]; imlspike <verb> --help tells more", ""]
        lines += [f"  {name:<{max(map(len, known))}}  {line}" for name, line in known.items()]
        print(*lines, "", EPILOG, sep="\n", file=sys.stdout if verb else sys.stderr)
        return 0 if verb else 2
    near = difflib.get_close_matches(verb, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
    print(f"imlspike: error: unknown verb {verb!r}; {hint}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
