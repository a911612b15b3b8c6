"""What verbs that open a model and work on files of the user share: options, finding files, naming outputs,
leaving out what is done, what is told at the end."""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

# What a folder is searched for. Those of the second line can't be read: they are reported, not passed over.
AUDIO = set(".wav .flac .ogg .oga .opus .mp3 .aiff .aif .aifc .au .snd .caf .w64 .rf64 .sph .nist".split())
AUDIO |= set(".m4a .m4b .aac .webm .mp4 .mkv .mov .wma .amr .g722".split())  # by ffmpeg (extra audio)
AUDIO |= set(".m4a .mp4 .aac .wma .amr .webm .mka .ac3".split())


@dataclass(frozen=True)
class Found:
    """A file, and its path below the argument that named it or its folder."""

    path: Path
    below: Path


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
    """The option of every verb that computes: where."""
    parser.add_argument(
        "--device", type=device, default="cpu", help="cpu, cuda, cuda:1, mps, ... (default %(default)s)"
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options of every verb that opens a model: which, on how many threads, where."""
    add = parser.add_argument
    add("--model", required=True, help="a bundle (folder or .zip), experiment, or OWNER/MODEL on the hub")
    add("--threads", type=thread_count, default=0, help="default: as many as there are cores")
    add_device(parser)


def use_threads(args: argparse.Namespace) -> None:
    """Do as --threads says."""
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)


def teller(verb: str) -> Callable[[str], None]:
    """What a verb says to the user, on stderr, apart from results on stdout."""
    return lambda message: print(f"{verb}: {message}", file=sys.stderr, flush=True)


@dataclass
class Outcome:
    """What became of the files (or texts) of a run: how many there were, the names of those that failed, and
    what else was wrong. All of it has been told."""

    total: int
    failed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def exit_status(
    work: Callable[[], Outcome],
    say: Callable[[str], None],
    done: str,
    kind: str = "files",
    interrupted: str = "what is written is whole, and the same command goes on from there",
) -> int:
    """Do the work; 0 if all was well, 1 if something failed, 130 if the user interrupted it.

    Args:
        work: whose OSError, ValueError, ImportError or FloatingPointError is told in one line.
        say: see `teller`.
        done: what is done to files, as "vocoded".
        kind: what the files are called.
        interrupted: what to tell then.

    >>> exit_status(lambda: Outcome(3, ["a.wav"]), print, "vocoded")
    1 of 3 files were not vocoded: a.wav
    1
    """
    try:
        outcome = work()
    except (OSError, ValueError, ImportError, FloatingPointError) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say(f"interrupted; {interrupted}")
        return 130
    if outcome.failed:
        names = ", ".join(outcome.failed)
        say(f"{len(outcome.failed)} of {outcome.total} {kind} were not {done}: {names}")
    return 1 if outcome.failed or outcome.problems else 0


def left_to_do(
    files: list, is_done: Callable, overwrite: bool, say: Callable[[str], None], kind: str = "files"
) -> list:
    """The files whose output isn't there yet, or all with --overwrite; says how many are left out."""
    todo = [file for file in files if overwrite or not is_done(file)]
    if len(todo) < len(files):
        say(f"{len(files) - len(todo)} of {len(files)} {kind} were done before (again with --overwrite)")
    return todo


def about(name: str, error: Exception) -> str:
    """What went wrong with a file, with its name.

    >>> about("a.wav", ValueError("empty")), about("a.wav", ValueError("a.wav, line 3: odd"))
    ('a.wav: empty', 'a.wav, line 3: odd')
    """
    return str(error) if name in str(error) else f"{name}: {error}"


def find_files(
    paths: Iterable[Path],
    suffixes: Collection[str],
    say: Callable[[str], None],
    kind: str = "audio",
    leave_out: Path | None = None,
) -> tuple[list[Found], list[str]]:
    """Files as they are, folders searched (hidden names and links to folders left out), nothing twice.

    Args:
        paths: files and folders.
        suffixes: of the files that are looked for in folders, in lower case.
        say: is told what was left out.
        kind: what the files are called in that.
        leave_out: a folder that isn't searched where it lies in another one: where outputs go.

    Returns:
        The files, and what was wrong: a folder without any.
    """
    found, problems = {}, []
    for path in paths:
        if not path.is_dir():
            found.setdefault(path.resolve(), Found(path, Path(path.name)))
            continue
        inside, others = [], 0
        for folder, folders, names in os.walk(path):
            here = [name for name in folders if not name.startswith(".")]
            folders[:] = sorted(
                name for name in here if not leave_out or Path(folder, name).resolve() != leave_out.resolve()
            )
            visible = [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
            inside += [file for file in visible if file.suffix.lower() in suffixes]
            others += sum(file.suffix.lower() not in suffixes for file in visible)
        if not inside:
            problems.append(f"{path}: no {kind} in this folder ({others} files of other kinds)")
        elif others:
            say(f"{path}: {len(inside)} {kind} files; {others} files of other kinds left out")
        for file in inside:
            found.setdefault(file.resolve(), Found(file, file.relative_to(path)))
    return list(found.values()), problems


def name_outputs(found: list[Found], output_dir: Path | None) -> dict[Found, Path]:
    """Where each file's output goes, without its suffix: the path below its argument, less the suffix.

    Files that would share an output keep their suffix; if that doesn't help, their folders too. Without
    `output_dir`, none has an output.

    Raises:
        ValueError: naming two files that would still share one.

    >>> one, other = Found(Path("x/a.wav"), Path("a.wav")), Found(Path("x/a.mp3"), Path("a.mp3"))
    >>> [str(path) for path in name_outputs([one, other], Path("out")).values()]
    ['out/a.wav', 'out/a.mp3']
    >>> other = Found(Path("y/a.wav"), Path("a.wav"))
    >>> [str(path) for path in name_outputs([one, other], Path("out")).values()]
    ['out/x/a.wav', 'out/y/a.wav']
    """
    if output_dir is None or not found:
        return {}
    absolute = {file: file.path.absolute() for file in found}
    parent = os.path.commonpath([path.parent for path in absolute.values()])
    schemes: list[Callable[[Found], Path]] = [
        lambda file: file.below.with_suffix(""),
        lambda file: file.below,
        lambda file: absolute[file].relative_to(parent),
    ]
    names: dict[Found, Path] = {}
    for scheme in schemes:
        users = Counter(names.values())
        names = {file: names[file] if users[names.get(file)] == 1 else scheme(file) for file in found}
    owners: dict[Path, Found] = {}
    for file, name in names.items():
        if name in owners:
            raise ValueError(f"{owners[name].path} and {file.path}: one output for both; run them apart")
        owners[name] = file
    return {file: output_dir / name for file, name in names.items()}


class Summary:
    """What was done, and what was done to the audio for it."""

    def __init__(self):
        self.files, self.seconds = 0, 0.0
        self.noted: dict[str, list[str]] = {}

    def add(self, seconds: float) -> None:
        """Count a file that was done, of so many seconds."""
        self.files, self.seconds = self.files + 1, self.seconds + seconds

    def note(self, what: str, file: str) -> None:
        """Keep what is worth saying of a file."""
        self.noted.setdefault(what, []).append(file)

    def note_audio(self, file: str, sampling_rate: int, channels: int, wanted_rate: int) -> None:
        """Keep whether a file was mixed down or resampled."""
        if channels > 1:
            self.note("several channels, mixed down to one", file)
        if sampling_rate != wanted_rate:
            self.note(f"resampled to {wanted_rate} Hz", file)

    def text(self, took: float) -> str:
        """The summary in a line for each thing worth saying; `took` in seconds."""
        lines = [f"{self.files} files, {self.seconds / 60:.1f} min of audio in {took:.1f} s"]
        for what, files in self.noted.items():
            more = f" and {len(files) - 3} more" if len(files) > 3 else ""
            lines.append(f"  {what}: {', '.join(files[:3])}{more}")
        return "\n".join(lines)


def seconds_of(path: Path) -> float:
    """How long an audio file is; 0 where that can't be told."""
    from imlspike.data.audio import AudioError, audio_format

    try:
        return audio_format(path).seconds or 0.0
    except (AudioError, OSError):  # reported when it is its turn
        return 0.0
