"""`python -m imlspike.espnet`: ESPnet's programs, and a stand-in for `python3` in its scripts, with imlspike.

    python -m imlspike.espnet asr --config conf/train_asr_spikeformer.yaml ...  # trains; any task of ESPnet
    python -m imlspike.espnet asr_inference ...               # likewise any program of espnet2.bin
    ./asr.sh --python "python3 -m imlspike.espnet" --asr_config conf/train_asr_spikeformer.yaml ...

Whatever else follows is what one would give to python: `-m module args`, `script.py args`, `-c code args`, or
a program on the standard input. Options of the interpreter (`-u`, `-X dev`, ...) go to a new interpreter.
"""

import os
import runpy
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from imlspike.espnet import register, run_espnet


def split_options(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split python's command line into the interpreter's options and the program with its arguments.

    >>> split_options(["-u", "-W", "ignore", "-m", "espnet2.bin.asr_train", "-u"])
    (['-u', '-W', 'ignore'], ['-m', 'espnet2.bin.asr_train', '-u'])
    >>> split_options(["-mtimeit", "-n1"])
    ([], ['-m', 'timeit', '-n1'])
    """
    at = 0
    while at < len(argv) and argv[at][:1] == "-" and argv[at] != "-" and argv[at][:2] not in ("-m", "-c"):
        at += 2 if argv[at] in ("-W", "-X", "--check-hash-based-pycs") else 1
    options, program = list(argv[:at]), list(argv[at:])
    if program and program[0][:2] in ("-m", "-c") and len(program[0]) > 2:
        program[:1] = [program[0][:2], program[0][2:]]
    return options, program


def run(program: Sequence[str]) -> None:
    """Run a program of ESPnet by its name; `-m`, `-c`, a script or `-` (standard input), as python would."""
    kind, *words = program or "-"
    for name in (f"{kind}_train", kind):
        if name.isidentifier() and find_spec("espnet2") and find_spec(f"espnet2.bin.{name}"):
            return run_espnet(name, words)
    if kind in ("-m", "-c") and not words:
        sys.exit(f"python -m imlspike.espnet: {kind} needs an argument")
    register()
    if kind == "-m":
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif kind in ("-c", "-"):
        code = words.pop(0) if kind == "-c" else sys.stdin.read()
        sys.argv, sys.path[0] = [kind, *words], ""
        name = "<string>" if kind == "-c" else "<stdin>"
        exec(compile(code, name, "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.argv, sys.path[0] = list(program), os.path.dirname(os.path.abspath(kind))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    options, given = split_options(sys.argv[1:])
    if options:
        stand_in = ["-m", "imlspike.espnet"] if given else []
        os.execv(sys.executable, [sys.executable, *options, *stand_in, *given])
    run(given)
