"""Finding files, naming their outputs, leaving out what is done."""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from imlspike.bin._command import Report
from imlspike.bin._manifest import Manifest
from imlspike.data.files import check_output

# What a folder is searched for. Those from the second line on are read by ffmpeg.
AUDIO = set(".wav .flac .ogg .oga .opus .mp3 .aiff .aif .aifc .au .snd .caf .w64 .rf64 .sph .nist".split())
AUDIO |= set(".m4a .m4b .m4v .aac .webm .weba .mp4 .mkv .mov .wma .wmv .amr .g722 .mka .ac3".split())
AUDIO |= set(".3gp .3g2 .avi .flv .mpg .mpeg .mts .m2ts .mxf .mp2 .ogv .spx .tta .wv".split())


class Found(NamedTuple):
    """A file, and its path below the argument that named it or its folder."""

    path: Path
    below: Path


def find_files(
    paths: Iterable[Path],
    suffixes: Collection[str],
    report: Report,
    kind: str = "audio",
    leave_out: Path | None = None,
) -> list[Found]:
    """Files as they are, folders searched (hidden names and links to folders left out), nothing twice.

    Args:
        paths: files and folders.
        suffixes: of the files that are looked for in folders, in lower case.
        report: is told what was left out; a folder without any file of these is a problem.
        kind: what the files are called in that.
        leave_out: a folder that isn't searched where it lies in another one: where outputs go.
    """
    found = {}
    for path in paths:
        if not os.path.isdir(path):
            found.setdefault(os.path.realpath(path), Found(path, Path(path.name)))
            continue
        inside, others, without = [], 0, leave_out and os.path.realpath(leave_out)
        for folder, folders, names in os.walk(path, onerror=report.problem):
            folders[:] = [
                name
                for name in sorted(folders)
                if name[0] != "." and os.path.realpath(Path(folder, name)) != without
            ]
            for file in (Path(folder, name) for name in sorted(names) if name[0] != "."):
                if file.suffix.lower() in suffixes:
                    inside.append(file)
                else:
                    others += 1
        if not inside:
            report.problem(f"{path}: no {kind} in this folder ({others} files of other kinds)")
        elif others:
            report.say(f"{path}: {len(inside)} {kind} files; {others} files of other kinds left out")
        for file in inside:
            found.setdefault(os.path.realpath(file), Found(file, file.relative_to(path)))
    return list(found.values())


def name_outputs(found: list[Found], output_dir: Path) -> dict[Found, Path]:
    """The path of each file's output, without a suffix: that below its argument, less the suffix.

    Files that would share an output keep their suffix; if that doesn't help, their folders too.

    Raises:
        ValueError: naming two files that would still share one.

    >>> one, other = Found(Path("x/a.wav"), Path("a.wav")), Found(Path("x/a.mp3"), Path("a.mp3"))
    >>> [str(path) for path in name_outputs([one, other], Path("out")).values()]
    ['out/a.wav', 'out/a.mp3']
    >>> other = Found(Path("y/a.wav"), Path("a.wav"))
    >>> [str(path) for path in name_outputs([one, other], Path("out")).values()]
    ['out/x/a.wav', 'out/y/a.wav']
    """
    absolute = {file: file.path.absolute() for file in found}
    parent = os.path.commonpath([path.parent for path in absolute.values()] or [Path.cwd()])
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


def left_to_do(
    outputs: dict[Found, list[Path]], manifest: Manifest | None, overwrite: bool, report: Report
) -> list[Found]:
    """The files whose outputs the manifest doesn't know to be done, or all with `overwrite`.

    Tells how many are left out, and of each whose output is another source's why that isn't replaced.
    """
    todo = []
    for file, paths in outputs.items():
        try:
            if overwrite or not manifest or not manifest.is_done(file.path, paths):
                todo.append(file)
        except (OSError, ValueError) as error:
            report.fail(str(file.path), error)
    if done := len(outputs) - len(todo) - len(report.failed):
        report.say(f"{done} of {len(outputs)} files were done before (again with --overwrite)")
    return todo


def named(text: str) -> Path:
    """A path, for argparse; an empty one, as of a variable of a script that isn't set, is no folder here."""
    if not text:
        raise argparse.ArgumentTypeError("'' is no name of a file or folder; is a variable not set?")
    return Path(text)


def output_dir(text: str) -> Path:
    """A folder for outputs, for argparse; OutputError, which is one line and not usage, if it can't be."""
    check_output(path := named(text))
    return path


def output_file(text: str) -> Path:
    """A file to write, for argparse; as `output_dir`."""
    check_output(path := named(text), is_file=True)
    return path


def channel(text: str) -> str | int:
    """A choice of channels: mix, all or a number from 1; for argparse."""
    if text not in ("mix", "all") and not (text.isdecimal() and 0 < int(text) < 10**4):
        raise argparse.ArgumentTypeError(f"{text!r} is not mix, all or a channel's number, from 1")
    return text if text in ("mix", "all") else int(text)


def add_channel(parser: argparse.ArgumentParser) -> None:
    """Add the option of verbs that read audio files: which of several channels."""
    told = (
        "of several channels: mix (the mean of those that aren't silent, opposite phase turned, copies that "
    )
    told += "come later left out), all (each apart, into NAME.channelN), or a channel's number, from 1 "
    told += "(default %(default)s)"
    parser.add_argument("--channel", type=channel, default="mix", metavar="N|all|mix", help=told)


def channels_of(path: Path, channel: str | int) -> list[str | int]:
    """Channels of a file that are wanted: one choice, or the numbers of all."""
    form = format_of(path) if channel == "all" else None
    return list(range(1, form.channels + 1)) if form else [1 if channel == "all" else channel]


def format_of(path: Path):
    """The header of an audio file; None where that can't be read, which is told when it's its turn."""
    from imlspike.data.audio import audio_format

    try:
        return audio_format(path)
    except Exception:
        return None


def seconds_of(path: Path) -> float:
    """The length of an audio file; 0 where that can't be told."""
    form = format_of(path)
    return form.seconds or 0.0 if form else 0.0
