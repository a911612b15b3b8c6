"""Programs that a recipe starts: none outlives it, and a failure shows the end of the program's log."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

# Holds the read end of a pipe. When the recipe ends, however hard, the pipe closes and what runs is killed.
_REAPER = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    (groups.discard if line[0] == "-" else groups.add)(int(line.strip("+-\\n")))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|signal SIGKILL|killed by signal: Killed|DefaultCPUAllocator"
)


class RecipeError(RuntimeError):
    """What stops a recipe, in one line (a log's end may follow)."""


class ProgramError(RecipeError):
    """A program that failed.

    Attributes:
        memory: what is known of its lack of memory; empty if that wasn't the reason.
    """

    memory = ""


class _Children:
    """Process groups that run, and the reaper that watches over them."""

    def __init__(self):
        self.lock, self.groups, self.reaper, self.ending = threading.Lock(), set(), None, False

    def start(self, words: Sequence[str], **given) -> subprocess.Popen:
        with self.lock:
            if self.ending:
                raise RecipeError("interrupted")
            if self.reaper is None or self.reaper.poll() is not None:
                command = [sys.executable, "-c", _REAPER]
                self.reaper = subprocess.Popen(
                    command, stdin=subprocess.PIPE, text=True, start_new_session=True
                )
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True, **given)
            self.groups.add(process.pid)
            self._tell(f"+{process.pid}")
        return process

    def ended(self, process: subprocess.Popen) -> None:
        with self.lock:
            self.groups.discard(process.pid)
            self._tell(f"-{process.pid}")

    def _tell(self, line: str) -> None:
        self.reaper.stdin.write(line + "\n")
        self.reaper.stdin.flush()

    def end(self) -> None:
        """Ask all groups to end, and kill after ten seconds what has not; nothing more is started."""
        self.ending = True
        if groups := list(self.groups):
            self._signal(groups, signal.SIGTERM)
            timer = threading.Timer(
                10, lambda: self._signal(self.groups.intersection(groups), signal.SIGKILL)
            )
            timer.daemon = True
            timer.start()

    @staticmethod
    def _signal(groups: Iterable[int], number: int) -> None:
        for group in groups:
            try:
                os.killpg(group, number)
            except ProcessLookupError:
                pass


children = _Children()


def call(words: Sequence[object], log: str | Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run a program to its end; what it prints is appended to `log`, or shown where there is none.

    Raises:
        ProgramError: if it fails; the message shows the end of its log.
    """
    words = [str(word) for word in words]
    with _appended(log, words) as out:
        given = {"stdout": out, "stderr": subprocess.STDOUT} if log else {}
        process = children.start(words, env=os.environ | (env or {}), **given)
        try:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = status = os.waitstatus_to_exitcode(status)
        except BaseException:  # a signal that reached this process
            os.killpg(process.pid, signal.SIGTERM)
            raise
        finally:
            children.ended(process)
    if status:
        tail = Path(log).read_text(errors="replace").splitlines()[-15:] if log else []
        shown = "\n".join(["", f"the last lines of {log}:", *tail]) if log else ""
        how = f"was killed by signal {-status}" if status < 0 else f"failed with status {status}"
        error = ProgramError(f"{shlex.join(words[:4])} ... {how}{shown}")
        if status in (-signal.SIGKILL, 128 + signal.SIGKILL) or _OUT_OF_MEMORY.search("\n".join(tail)):
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
            error.memory = f"it held up to {used.ru_maxrss / 2**20:.2f} GB of this machine's {total:.1f} GB"
        raise error


def _appended(log, words):
    if log is None:
        return open(os.devnull)
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    out = open(log, "a", encoding="utf-8")
    print(f"# {time.strftime('%F %T')}: {shlex.join(words)}", file=out, flush=True)
    return out


VERBS = "imlspike.bin.{}"  # the module of a verb of `imlspike`


def verb(name: str, *words: object) -> None:
    """Run a light verb of `imlspike` in this process.

    Raises:
        RecipeError: if it fails; it has said why.
    """
    try:
        status = import_module(VERBS.format(name)).main([str(word) for word in words])
    except SystemExit as error:  # of argparse
        status = error.code
    if status:
        raise RecipeError(f"imlspike {name.replace('_', '-')} failed")


def program(options, name: str, *words: object, log: str | None = None) -> None:
    """Run a verb of `imlspike` that imports much or takes long, as a program.

    Raises:
        ProgramError: if it fails.
    """
    call([options.python, "-m", VERBS.format(name), *words], log, options.environment)
