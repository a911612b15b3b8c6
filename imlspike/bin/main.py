"""The console script ``imlspike``: ``imlspike <verb> [options]`` runs ``imlspike.bin.<verb>``.

A verb's module is imported only when that verb is run, so ``imlspike --help`` and ``imlspike info`` stay
quick and need no extra. Verbs are spelled with dashes, modules with underscores. What libraries warn of is
shown only if the environment variable IMLSPIKE_WARNINGS is 1.
"""

import ast
import difflib
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path


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


def usage() -> str:
    """The text of ``imlspike --help``."""
    known = verbs()
    width = max(map(len, known))
    lines = [f"  {verb:<{width}}  {line}" for verb, line in known.items()]
    return "\n".join(["usage: imlspike <verb> [options]; imlspike <verb> --help tells more", "", *lines])


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status.

    Args:
        argv: the arguments after the program's name; those of the process when None, which then is taken to
            be imlspike's own: libraries' warnings are hidden.

    Returns:
        2 for a missing or unknown verb (the nearest right one is named on stderr), otherwise what the verb's
        own ``main`` returned (None counts as 0).

    >>> main(["--help"]) == 0
    usage: ...
    True
    """
    if argv is None and os.environ.get("IMLSPIKE_WARNINGS") != "1":
        silence_libraries()
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    verb, rest = argv[0], argv[1:]
    known = verbs()
    if verb not in known:
        near = difflib.get_close_matches(verb, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
        print(f"imlspike: error: unknown verb {verb!r}; {hint}", file=sys.stderr)
        return 2
    return import_module(f"imlspike.bin.{verb.replace('-', '_')}").main(rest) or 0


if __name__ == "__main__":
    sys.exit(main())
