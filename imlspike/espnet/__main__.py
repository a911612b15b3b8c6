"""`python -m imlspike.espnet`: stands in for `python3` in ESPnet's own scripts, with imlspike registered.

    ./asr.sh --python "python3 -m imlspike.espnet" --asr_config conf/train_asr_spikeformer.yaml ...

Whatever follows is what one would give to python: `-m module args`, `script.py args`, `-c code args`, or a
program on the standard input. Options of the interpreter (`-u`, `-X dev`, ...) go to a new interpreter.
"""

import os
import runpy
import sys
from collections.abc import Sequence

from imlspike.espnet import register


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
    """Run `-m module args`, `-c code args`, `script args` or `-` (standard input), as python would."""
    kind = program[0] if program else "-"
    if kind in ("-m", "-c") and len(program) < 2:
        sys.exit(f"python -m imlspike.espnet: {kind} needs an argument")
    register()
    if kind == "-m":
        sys.argv = list(program[1:])
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    elif kind in ("-c", "-"):
        code = program[1] if kind == "-c" else sys.stdin.read()
        sys.argv = [kind, *program[2 if kind == "-c" else 1 :]]
        sys.path[0] = ""
        name = "<string>" if kind == "-c" else "<stdin>"
        exec(compile(code, name, "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.argv = list(program)
        sys.path[0] = os.path.dirname(os.path.abspath(kind))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    interpreter_options, given = split_options(sys.argv[1:])
    if interpreter_options and given:
        os.execv(sys.executable, [sys.executable, *interpreter_options, "-m", "imlspike.espnet", *given])
    elif interpreter_options:
        os.execv(sys.executable, [sys.executable, *interpreter_options])
    run(given)
