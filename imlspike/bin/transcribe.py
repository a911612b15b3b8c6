"""Transcribe audio files or whole folders with a trained recogniser.

imlspike transcribe interview.mp3 recordings/ --model exp/full --output-dir texts --format both
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import imlspike
from imlspike.data.audio import AudioError, audio_format
from imlspike.data.files import atomic_write
from imlspike.data.progress import Progress
from imlspike.data.transcript import Transcript

# What a folder is searched for. Those of the second line can't be read: they are reported, not passed over.
SUFFIXES = set(".wav .flac .ogg .oga .opus .mp3 .aiff .aif .aifc .au .snd .caf .w64 .rf64 .sph .nist".split())
SUFFIXES |= set(".m4a .mp4 .aac .wma .amr .webm .mka .ac3".split())


@dataclass(frozen=True)
class Found:
    """An audio file, and its path below the argument that named it or its folder."""

    path: Path
    below: Path


def main(argv=None) -> int:
    """Transcribe what the command line names; 1 if a file could not be transcribed, the others are."""
    args = parse(argv)
    found, problems = find_audio(args.paths)
    for problem in problems:
        say(problem)
    try:
        outputs = name_outputs(found, args.output_dir)
        todo = [file for file in found if args.overwrite or not is_done(outputs.get(file), args.format)]
        if len(todo) < len(found):
            say(f"{len(found) - len(todo)} of {len(found)} files were done before (again with --overwrite)")
        failed = transcribe(todo, outputs, args) if todo else []
    except (OSError, ValueError, ImportError) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; what is written is whole, and the same command goes on from there")
        return 130
    if failed:
        say(f"{len(failed)} of {len(found)} files were not transcribed: {', '.join(failed)}")
    return 1 if failed or problems else 0


def parse(argv):
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="imlspike transcribe",
        description="Transcribe audio files and folders of them. Any sampling rate; several channels are "
        "mixed down; long recordings are cut at pauses. Without --output-dir, prints 'FILE<tab>TEXT' each.",
    )
    add = parser.add_argument
    add(
        "paths",
        nargs="+",
        type=Path,
        metavar="FILE_OR_FOLDER",
        help="folders are searched with their folders",
    )
    add(
        "--model",
        required=True,
        help="experiment folder, packed .zip, or OWNER/MODEL on the Hugging Face hub",
    )
    add("--output-dir", type=Path, help="write NAME.txt and NAME.json here, folders as they were found")
    add(
        "--format",
        choices=("txt", "json", "both"),
        default="txt",
        help="json has times (default %(default)s)",
    )
    add("--overwrite", action="store_true", help="transcribe again what has its output already")
    add("--decoding", choices=("greedy", "joint"), default="greedy", help="default %(default)s, the fast one")
    add("--decode-config", type=Path, metavar="YAML", help="of joint decoding: beam_size, ctc_weight, ...")
    add("--model-file", help="another model of the experiment than the average of its best epochs")
    add("--max-seconds", type=positive, default=25.0, help="longer recordings are cut (default %(default)g)")
    add("--batch-seconds", type=positive, default=120.0, help="audio decoded at once (default %(default)g)")
    add("--threads", type=int, default=0, help="default: as many as there are cores")
    add("--device", default="cpu", help="cpu, cuda, ... (default %(default)s)")
    args = parser.parse_args(argv)
    if args.format == "both" and not args.output_dir:
        parser.error("--format both needs --output-dir")
    if args.decode_config and args.decoding != "joint":
        parser.error("--decode-config is for --decoding joint")
    return args


def positive(text: str) -> float:
    """A number above 0, for argparse."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def say(message: str) -> None:
    """Tell the user, apart from the transcripts on stdout."""
    print(f"transcribe: {message}", file=sys.stderr, flush=True)


def find_audio(paths: Iterable[Path]) -> tuple[list[Found], list[str]]:
    """Files as they are, folders searched (hidden names and links to folders left out), nothing twice.

    Returns:
        The files, and what was wrong: a folder without audio.
    """
    found, problems = {}, []
    for path in paths:
        if not path.is_dir():
            found.setdefault(path.resolve(), Found(path, Path(path.name)))
            continue
        inside, others = [], 0
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            visible = [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
            inside += [file for file in visible if file.suffix.lower() in SUFFIXES]
            others += sum(file.suffix.lower() not in SUFFIXES for file in visible)
        if not inside:
            problems.append(f"{path}: no audio in this folder ({others} files of other kinds)")
        elif others:
            say(f"{path}: {len(inside)} audio files; {others} files of other kinds left out")
        for file in inside:
            found.setdefault(file.resolve(), Found(file, file.relative_to(path)))
    return list(found.values()), problems


def name_outputs(found: list[Found], output_dir: Path | None) -> dict[Found, Path]:
    """Where each file's output goes, without .txt or .json: the path below its argument, less the suffix.

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


def output_files(base: Path, form: str) -> dict[str, Path]:
    """The files to write for one recording, by kind."""
    return {kind: Path(f"{base}.{kind}") for kind in (("txt", "json") if form == "both" else (form,))}


def is_done(base: Path | None, form: str) -> bool:
    """Whether all outputs of a file are there; they are written whole, so what is there is complete."""
    return base is not None and all(path.is_file() for path in output_files(base, form).values())


def transcribe(todo: list[Found], outputs: dict[Found, Path], args) -> list[str]:
    """Transcribe, write and say what was done; returns the names of the files that failed."""
    import torch

    warnings.filterwarnings("ignore", category=FutureWarning)  # ESPnet's, on names that torch will change
    from imlspike.inference import Speech2Text

    if args.threads:
        torch.set_num_threads(args.threads)
    total = int(sum(seconds_of(file.path) for file in todo))
    say(f"{len(todo)} files, {total / 60:.1f} min of audio; opening {args.model}")
    options = decode_options(args.decode_config)
    s2t = Speech2Text.from_pretrained(args.model, args.decoding, args.device, args.model_file, **options)
    about = {"model": args.model, "decoding": args.decoding, "version": imlspike.__version__}
    follow, begin = Progress("seconds of audio transcribed"), time.monotonic()

    def progress(seconds: float) -> None:
        if seconds < total:
            follow(int(seconds), total)

    progress(0)
    paths = [file.path for file in todo]
    results = s2t.transcribe(paths, args.max_seconds, args.batch_seconds, "return", progress)
    summary, failed = Summary(s2t.sampling_rate), []
    for file, result in zip(todo, results, strict=True):
        if result.error:
            say(result.error)
            failed.append(result.file)
        else:
            write(result, outputs.get(file), args.format, about)
            summary.add(result)
    say(summary.text(time.monotonic() - begin))
    return failed


class Summary:
    """What was done, and what was done to the audio for it; `sampling_rate` is the recogniser's."""

    def __init__(self, sampling_rate: int):
        self.files, self.seconds, self.rate = 0, 0.0, sampling_rate
        self.noted: dict[str, list[str]] = {}

    def add(self, result: Transcript) -> None:
        """Take in one transcribed file."""
        self.files, self.seconds = self.files + 1, self.seconds + result.seconds
        for what, holds in (
            ("several channels, mixed down to one", result.channels > 1),
            (f"resampled to {self.rate} Hz", result.sampling_rate != self.rate),
            ("without a recognised word", not result.text),
        ):
            if holds:
                self.noted.setdefault(what, []).append(result.file)

    def text(self, took: float) -> str:
        """The summary in a line for each thing worth saying; `took` in seconds."""
        lines = [f"{self.files} files, {self.seconds / 60:.1f} min of audio in {took:.1f} s"]
        for what, files in self.noted.items():
            more = f" and {len(files) - 3} more" if len(files) > 3 else ""
            lines.append(f"  {what}: {', '.join(files[:3])}{more}")
        return "\n".join(lines)


def seconds_of(path: Path) -> float:
    """How long a file is; 0 where that can't be told."""
    try:
        return audio_format(path).seconds or 0.0
    except (AudioError, OSError):  # reported when it is its turn
        return 0.0


def decode_options(path: Path | None) -> dict:
    """The options of joint decoding in an ESPnet decoding YAML."""
    if path is None:
        return {}
    from imlspike.espnet.beam_search import read_options

    return asdict(read_options(path))


def write(result: Transcript, base: Path | None, form: str, about: dict) -> None:
    """Write the outputs of one file, each whole or not at all; without `base`, print them."""
    if base is None:
        as_json = form == "json"
        print(dump(result, about) if as_json else f"{result.file}\t{result.text}", flush=True)
        return
    base.parent.mkdir(parents=True, exist_ok=True)
    for kind, path in output_files(base, form).items():
        with atomic_write(path) as out:
            out.write(result.lines() if kind == "txt" else dump(result, about, indent=1) + "\n")


def dump(result: Transcript, about: dict, indent: int | None = None) -> str:
    """A transcript as JSON, with the model that made it."""
    return json.dumps(result.as_dict() | about, ensure_ascii=False, indent=indent)


if __name__ == "__main__":
    sys.exit(main())
