"""Shared by verbs: errors in one line, options, and the report of a run over many files."""

import argparse
import functools
import io
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from imlspike.data.keys import check_number
from imlspike.data.progress import Progress

EXPLAINED = (OSError, ValueError, ImportError, FloatingPointError)  # errors whose message tells enough
# Control characters of names, as they are shown: they would break lines, or color the terminal.
BREAKS = {code: f"\\x{code:02x}" for code in (*range(32), 127)} | {9: "\\t", 10: "\\n", 13: "\\r"}
EPILOG = "Of every verb: --quiet tells of errors only; --verbose shows tracebacks and what libraries warn of."


def command(main: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int]:
    """Decorate a verb's `main`, the last function of its module, which `python -m` then runs, too.

    An error is one line on stderr and the exit status 1, or with `--verbose` (IMLSPIKE_WARNINGS=1) a
    traceback; an error that may be a library's comes with its place. An interruption is 130, SIGTERM 143,
    SIGHUP 129 and a reader of stdout who went away 141. With `--quiet` only errors are told.
    """
    say = teller(Path(main.__code__.co_filename).stem.replace("_", "-"))

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        for stream in ("stdout", "stderr"):
            if getattr(sys, stream) is None:  # closed by the caller: print(file=None) goes to stdout
                setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115
        words = list(sys.argv[1:] if argv is None else argv)
        verbose = "--verbose" in words or os.environ.get("IMLSPIKE_WARNINGS") == "1"
        was_quiet, Progress.quiet = Progress.quiet, "--quiet" in words
        try:
            with _ended_by_sigterm():
                status = main([word for word in words if word not in ("--quiet", "--verbose")]) or 0
                sys.stdout.flush()
                return status
        except BrokenPipeError:
            return pipe_closed()
        except Exception as error:
            if verbose:
                raise
            told = f"error: {error}"
            if not isinstance(error, EXPLAINED):
                last = traceback.extract_tb(error.__traceback__)[-1]
                kind = "" if type(error) is RuntimeError else f"{type(error).__name__}: "
                told = f"error: {kind}{error} (at {last.filename}:{last.lineno}; more with --verbose)"
            say(told)
            return 1
        except KeyboardInterrupt:
            say("interrupted; files that are there are whole, and the same command does the rest")
            return 130
        finally:
            Progress.quiet = was_quiet

    if main.__module__ == "__main__":
        main.__globals__["main"] = run  # its help text is made of main.__doc__
        sys.exit(run())
    return run


def pipe_closed() -> int:
    """The exit status of SIGPIPE, where nobody reads on (`| head`); what is left to write is dropped."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the block as an exception does, so that temporary files go."""

    def end(number, frame):
        raise SystemExit(128 + number)

    ours = [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) is end:
                signal.signal(number, signal.SIG_DFL)


@contextmanager
def results() -> Iterator[Callable[[str], None]]:
    """Yield what prints a line of results to stdout; all else that is written there goes to stderr meanwhile.

    Also what libraries in C write. Bytes of names that aren't UTF-8 are written as escapes.
    """
    out = sys.stdout
    out.flush()

    def show(line: str) -> None:
        print(line.encode(errors="backslashreplace").decode(), file=lines, flush=True)

    try:
        is_plain = out.fileno() == 1
    except (io.UnsupportedOperation, AttributeError):
        is_plain = False
    if not is_plain:  # as under pytest, or in a notebook
        lines = out
        with redirect_stdout(sys.stderr):
            yield show
        return
    with redirect_stdout(sys.stderr), open(os.dup(1), "w", encoding="utf-8") as lines:
        os.dup2(2, 1)
        try:
            yield show
        finally:
            os.dup2(lines.fileno(), 1)


def teller(verb: str) -> Callable[[str], None]:
    """A function that tells the user something on stderr, apart from results on stdout."""
    return lambda message: print(f"{verb}: {message}", file=sys.stderr, flush=True)


def number(least: float, most: float, kind: Callable[[str], float] = float) -> Callable[[str], float]:
    """A number from `least` to `most`, for argparse; `kind` int: a whole one."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
            check_number("it", value, least, most)
        except ValueError:
            what = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{text!r} is no {what} from {least:g} to {most:g}") from None
        return value

    return parse


def folder_of(config: Path) -> Path:
    """The folder of an experiment's config.yaml, which is what is opened; ValueError for another file."""
    if config.name != "config.yaml" or not config.is_file():
        raise ValueError(f"--config {config}: expected the config.yaml of an experiment")
    return config.parent


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
    add_weight_bits(parser)
    parser.epilog = EPILOG


def add_weight_bits(parser: argparse.ArgumentParser) -> None:
    """Add the option to round a model's weights."""
    told = "round weights to 2 to 16 bits, symmetric for each output channel (default: not)"
    parser.add_argument("--weight-bits", type=number(2, 16, int), help=told)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the option of what computes."""
    told = "onnx: --model names what `imlspike export` wrote, and torch isn't needed (default %(default)s)"
    parser.add_argument("--engine", choices=("torch", "onnx"), default="torch", help=told)


def refuse_for_onnx(parser: argparse.ArgumentParser, args: argparse.Namespace, **defaults) -> None:
    """An error for options that --engine onnx doesn't take, where they aren't at their default."""
    for name, default in defaults.items():
        if getattr(args, name) != default:
            parser.error(f"--{name.replace('_', '-')} is for --engine torch")


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

    def __init__(self, tell: Callable[[str], None], kind: str = "files"):
        self.tell, self.kind, self.begin = tell, kind, time.monotonic()
        self.done: set[str] = set()
        self.seconds, self.problems = 0.0, 0
        self.failed: dict[str, str] = {}
        self.noted: dict[str, list[str]] = {}

    def say(self, message: str) -> None:
        """Tell what is no error."""
        if not Progress.quiet:
            self.tell(message)

    def restart(self) -> None:
        """Count the time from here, as once the model is open."""
        self.begin = time.monotonic()

    def problem(self, message: str) -> None:
        """Tell what is wrong with the run as a whole: it ends with status 1."""
        self.tell(message)
        self.problems += 1

    def fail(self, name: str, error: object) -> None:
        """Tell what went wrong with a file."""
        if not isinstance(error, (str, *EXPLAINED)):
            error = f"{type(error).__name__}: {error}"
        named = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", str(error))
        self.failed[name] = str(error) if named else f"{name}: {error}"
        self.tell(self.failed[name].translate(BREAKS))

    def add(self, name: str, seconds: float) -> None:
        """Count a file that was done, once for all its channels, and the seconds of each channel."""
        self.done.add(name)
        self.seconds += seconds

    def note(self, what: str, file: str, applies: bool = True) -> None:
        """Keep for the end what is worth saying of a file, if it applies."""
        if applies:
            self.noted.setdefault(what, []).append(file)

    def note_audio(self, file: str, sampling_rate: int, wanted_rate: int, notes: Sequence[str] = ()) -> None:
        """Tell what was found in a file; keep that it was mixed down or resampled."""
        for text in notes:
            if not text.endswith("mixed down to one"):  # as a whole run may be: told at the end
                self.say(f"{file}: {text}".translate(BREAKS))
        self.note("several channels, mixed down to one", file, any("mixed down" in text for text in notes))
        self.note(f"resampled to {wanted_rate} Hz", file, sampling_rate != wanted_rate)

    def end(self, total: int, done: str) -> int:
        """Tell what was done, and the `total` that there was to do; returns the exit status."""
        if self.done or self.failed:
            took = time.monotonic() - self.begin
            whole = len(self.done - set(self.failed))
            lines = [f"{whole} files, {self.seconds / 60:.1f} min of audio in {took:.1f} s"]
            for what, files in self.noted.items():
                more = f" and {len(files) - 3} more" if len(files) > 3 else ""
                lines.append(f"  {what}: {', '.join(files[:3])}{more}".translate(BREAKS))
            self.say("\n".join(lines))
        if self.failed:
            told = f"{len(self.failed)} of {total} {self.kind} were not {done}"
            self.tell(f"{told}: {', '.join(self.failed)}".translate(BREAKS))
        return 1 if self.failed or self.problems else 0
