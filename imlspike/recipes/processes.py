"""Programs that a recipe starts: none outlives it, and a failure shows the end of the program's log."""

import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

from imlspike.data.files import make_folder
from imlspike.recipes.options import OptionError

# Leads the process group of all programs, and reads a pipe that the recipe holds. When the recipe ends,
# however hard, the pipe closes and the group is killed.
_REAPER = ["sh", "-c", "trap '' HUP INT TERM; read _; kill -KILL 0"]
_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|signal SIGKILL|killed by signal: Killed|DefaultCPUAllocator"
)


class RecipeError(RuntimeError):
    """The reason that stops a recipe, in one line (a log's end may follow)."""


class ProgramError(RecipeError):
    """A program that failed.

    Attributes:
        memory: what is known of its lack of memory; empty if that wasn't the reason.
    """

    memory = ""


class _Children:
    """The programs that run, in one process group whose leader is the reaper."""

    def __init__(self):
        self.lock, self.reaper, self.ending = threading.Lock(), None, False

    def start(self, words: Sequence[str], **given) -> subprocess.Popen:
        with self.lock:
            if self.ending:
                raise RecipeError("interrupted")
            if self.reaper is None or self.reaper.poll() is not None:
                self.reaper = subprocess.Popen(_REAPER, stdin=subprocess.PIPE, process_group=0)
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, process_group=self.reaper.pid, **given)

    def end(self) -> None:
        """Ask all programs to end, and kill after ten seconds what has not; nothing more is started."""
        self.ending = True
        reaper, self.reaper = self.reaper, None
        if reaper and reaper.poll() is None:
            os.killpg(reaper.pid, signal.SIGTERM)  # which the reaper itself ignores
            timer = threading.Timer(10, reaper.communicate)  # closes the pipe
            timer.daemon = True
            timer.start()


children = _Children()


def call(words: Sequence[object], log: str | Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run a program to its end; what it prints is appended to `log`, or shown where there is none.

    Raises:
        ProgramError: if it fails; the message shows the end of its log.
    """
    words, given = [str(word) for word in words], {}
    with ExitStack() as during:
        if log:
            make_folder(Path(log).parent)
            out = during.enter_context(open(log, "a", encoding="utf-8"))
            print(f"# {time.strftime('%F %T')}: {shlex.join(words)}", file=out, flush=True)
            given = {"stdout": out, "stderr": subprocess.STDOUT}
        process = children.start(words, env=os.environ | (env or {}), **given)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = status = os.waitstatus_to_exitcode(status)
    if status:
        tail = Path(log).read_text(errors="replace").splitlines()[-15:] if log else []
        shown = "\n".join(["", f"the last lines of {log}:", *tail]) if log else ""
        how = f"was killed by signal {-status}" if status < 0 else f"failed with status {status}"
        error = ProgramError(f"{shlex.join(words[:4])} ... {how}{shown}")
        if status in (-signal.SIGKILL, 128 + signal.SIGKILL) or _OUT_OF_MEMORY.search("\n".join(tail)):
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
            error.memory = f"it held up to {used.ru_maxrss / 2**20:.2f} GB of this machine's {total:.1f} GB"
        raise error


VERBS = "imlspike.bin.{}"  # the module of a verb of `imlspike`


def flags(**given: object) -> list:
    """Options of a command line; what is None, False or empty is left out.

    >>> flags(data_dir="data/test", systems=["a=b", "c=d"], no_spaces=True, asr_model="", least=0)
    ['--data-dir', 'data/test', '--systems', 'a=b', 'c=d', '--no-spaces', '--least', 0]
    """
    words = []
    for name, value in given.items():
        if value is None or value is False or value in ("", [], ()):
            continue
        values = [] if value is True else value if isinstance(value, list | tuple) else [value]
        words += [f"--{name.replace('_', '-')}", *values]
    return words


def verb(name: str, /, *words: object, **given: object) -> None:
    """Run a light verb of `imlspike` in this process, with words and `flags`.

    Raises:
        RecipeError: if it fails; it has said why.
    """
    try:
        words = [*words, *flags(**given)]
        status = import_module(VERBS.format(name)).main([str(word) for word in words])
    except SystemExit as error:  # of argparse
        status = error.code
    if status:
        raise RecipeError(f"imlspike {name.replace('_', '-')} failed")


def check_words(option: str, name: str, words: Sequence[str], **given: object) -> None:
    """Raise OptionError if a verb would refuse the words of --<option>, given besides its own."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            import_module(VERBS.format(name)).parse([*words, *map(str, flags(**given))])
    except SystemExit:
        why = told.getvalue().strip().rpartition("error: ")[2] or "--help has no place here"
        raise OptionError(f"--{option}: {why}") from None


def program(options, name: str, /, *words: object, log: str | None = None, **given: object) -> None:
    """Run a verb of `imlspike` that imports much or takes long, as a program, with words and `flags`.

    Raises:
        ProgramError: if it fails.
    """
    call([options.python, "-m", VERBS.format(name), *words, *flags(**given)], log, options.environment)


def script(options, file: str, /, **given: object) -> None:
    """Run a Python file of a recipe with `flags`; ProgramError if it fails."""
    call([options.python, file, *flags(**given)], env=options.environment)
