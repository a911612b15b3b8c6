"""Finding files, naming their outputs, leaving out what is done."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from imlspike.bin._command import Report

# What a folder is searched for. Those of the second line are read by ffmpeg (extra audio).
AUDIO = set(".wav .flac .ogg .oga .opus .mp3 .aiff .aif .aifc .au .snd .caf .w64 .rf64 .sph .nist".split())
AUDIO |= set(".m4a .m4b .aac .webm .mp4 .mkv .mov .wma .amr .g722 .mka .ac3".split())


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
        if not path.is_dir():
            found.setdefault(path.resolve(), Found(path, Path(path.name)))
            continue
        inside, others = [], 0
        for folder, folders, names in os.walk(path):
            folders[:] = [
                name
                for name in sorted(folders)
                if name[0] != "." and not (leave_out and Path(folder, name).resolve() == leave_out.resolve())
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
            found.setdefault(file.resolve(), Found(file, file.relative_to(path)))
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


def left_to_do(files: list, is_done: Callable[..., bool], overwrite: bool, report: Report) -> list:
    """The files whose output isn't there yet, or all with --overwrite; says how many are left out."""
    todo = [file for file in files if overwrite or not is_done(file)]
    if done := len(files) - len(todo):
        report.say(f"{done} of {len(files)} files were done before (again with --overwrite)")
    return todo


def seconds_of(path: Path) -> float:
    """The length of an audio file; 0 where that can't be told."""
    from imlspike.data.audio import AudioError, audio_format

    try:
        return audio_format(path).seconds or 0.0
    except (AudioError, OSError):  # reported when it is its turn
        return 0.0
