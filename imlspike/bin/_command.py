"""Shared by verbs: errors in one line, options, and the report of a run over many files."""

import argparse
import functools
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

ERRORS = (OSError, ValueError, ImportError, RuntimeError, FloatingPointError)


def command(main: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int]:
    """Decorate a verb's `main`, the last function of its module, which `python -m` then runs, too.

    An error is one line on stderr and the exit status 1, or with IMLSPIKE_WARNINGS=1 a traceback; an
    interruption is 130. A RuntimeError, which may be a library's, comes with its place.
    """
    say = teller(Path(main.__code__.co_filename).stem.replace("_", "-"))

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        try:
            status = main(argv) or 0
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            return pipe_closed()
        except ERRORS as error:
            if os.environ.get("IMLSPIKE_WARNINGS") == "1":
                raise
            told = f"error: {error}"
            if type(error) is RuntimeError:
                last = traceback.extract_tb(error.__traceback__)[-1]
                told += f" (at {last.filename}:{last.lineno}; a traceback with IMLSPIKE_WARNINGS=1)"
            say(told)
            return 1
        except KeyboardInterrupt:
            say("interrupted; files that are there are whole, and the same command does the rest")
            return 130

    if main.__module__ == "__main__":
        main.__globals__["main"] = run  # its help text is made of main.__doc__
        sys.exit(run())
    return run


def pipe_closed() -> int:
    """The exit status of SIGPIPE, where nobody reads on (`| head`); what is left to write is dropped."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13


def teller(verb: str) -> Callable[[str], None]:
    """A function that tells the user something on stderr, apart from results on stdout."""
    return lambda message: print(f"{verb}: {message}", file=sys.stderr, flush=True)


def positive(text: str) -> float:
    """A number above 0, for argparse."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def thread_count(text: str) -> int:
    """A number of threads, at most as many as there are cores, which is what 0 is; for argparse."""
    cores = os.cpu_count() or 1
    if not text.isdecimal() or len(text) > 9 or int(text) > cores:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number up to {cores}, the cores of this machine; 0 is all of them"
        )
    return int(text)


def device(text: str) -> str:
    """A device that is there, for argparse; torch is imported only to look for one that isn't the CPU."""
    if not re.fullmatch(r"(cpu|cuda|mps|xpu)(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no device; expected cpu, cuda, cuda:1, mps or xpu")
    if not text.startswith("cpu"):
        import torch

        try:
            torch.empty(0, device=text)
        except (RuntimeError, AssertionError) as error:
            reason = re.split(r"\.\s|\n", str(error))[0]
            raise argparse.ArgumentTypeError(f"no {text} here ({reason}); the CPU is cpu") from None
    return text


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option of every verb that computes: where."""
    told = "cpu, cuda, cuda:1, mps, ... (default %(default)s)"
    parser.add_argument("--device", type=device, default="cpu", help=told)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every verb that opens a model: which, on how many threads, where."""
    add = parser.add_argument
    add("--model", required=True, help="a bundle (folder or .zip), experiment, or OWNER/MODEL on the hub")
    add("--threads", type=thread_count, default=0, help="default: as many as there are cores")
    add_device(parser)


def use_threads(args: argparse.Namespace) -> None:
    """Do as --threads says."""
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)


class Report:
    """The fate of the files (or texts) of a run, told to the user as it happens and at the end.

    >>> report = Report(print)
    >>> report.fail("a.wav", "empty")
    a.wav: empty
    >>> report.end(3, "vocoded")
    0 files, 0.0 min of audio in 0.0 s
    1 of 3 files were not vocoded: a.wav
    1
    """

    def __init__(self, say: Callable[[str], None], kind: str = "files"):
        self.say, self.kind, self.begin = say, kind, time.monotonic()
        self.files, self.seconds, self.problems = 0, 0.0, 0
        self.failed: dict[str, str] = {}
        self.noted: dict[str, list[str]] = {}

    def restart(self) -> None:
        """Count the time from here, as once the model is open."""
        self.begin = time.monotonic()

    def problem(self, message: str) -> None:
        """Tell what is wrong with the run as a whole: it ends with status 1."""
        self.say(message)
        self.problems += 1

    def fail(self, name: str, error: object) -> None:
        """Tell what went wrong with a file."""
        self.failed[name] = str(error) if name in str(error) else f"{name}: {error}"
        self.say(self.failed[name])

    def add(self, seconds: float) -> None:
        """Count a file that was done, of so many seconds."""
        self.files, self.seconds = self.files + 1, self.seconds + seconds

    def note(self, what: str, file: str, applies: bool = True) -> None:
        """Keep for the end what is worth saying of a file, if it applies."""
        if applies:
            self.noted.setdefault(what, []).append(file)

    def note_audio(self, file: str, sampling_rate: int, channels: int, wanted_rate: int) -> None:
        """Keep that a file was mixed down or resampled."""
        self.note("several channels, mixed down to one", file, channels > 1)
        self.note(f"resampled to {wanted_rate} Hz", file, sampling_rate != wanted_rate)

    def end(self, total: int, done: str) -> int:
        """Tell what was done, and the `total` that there was to do; returns the exit status."""
        if self.files or self.failed:
            took = time.monotonic() - self.begin
            lines = [f"{self.files} files, {self.seconds / 60:.1f} min of audio in {took:.1f} s"]
            for what, files in self.noted.items():
                more = f" and {len(files) - 3} more" if len(files) > 3 else ""
                lines.append(f"  {what}: {', '.join(files[:3])}{more}")
            self.say("\n".join(lines))
        if self.failed:
            told = f"{len(self.failed)} of {total} {self.kind} were not {done}"
            self.say(f"{told}: {', '.join(self.failed)}")
        return 1 if self.failed or self.problems else 0
