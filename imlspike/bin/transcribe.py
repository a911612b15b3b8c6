"""Transcribe audio files or whole folders with a trained recogniser.

imlspike transcribe interview.mp3 recordings/ --model exp/full --output-dir texts --format both
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import imlspike
from imlspike.bin._files import (
    AUDIO,
    Found,
    Outcome,
    Summary,
    add_model_options,
    exit_status,
    find_files,
    left_to_do,
    name_outputs,
    positive,
    seconds_of,
    teller,
    use_threads,
)
from imlspike.data.files import atomic_write
from imlspike.data.progress import Progress
from imlspike.data.transcript import Transcript

say = teller("transcribe")
SEARCH = ("beam_size", "ctc_weight", "lm_weight", "lm")  # options of the search, as Speech2Text has them


def main(argv=None) -> int:
    """Transcribe what the command line names; 1 if a file could not be transcribed, the others are."""
    args = parse(argv)
    return exit_status(lambda: run(args), say, "transcribed")


def run(args) -> Outcome:
    """Find the files, and do those that aren't done yet."""
    found, problems = find_files(args.paths, AUDIO, say)
    for problem in problems:
        say(problem)
    outputs = name_outputs(found, args.output_dir)
    todo = left_to_do(found, lambda file: is_done(outputs.get(file), args.format), args.overwrite, say)
    return Outcome(len(found), transcribe(todo, outputs, args) if todo else [], problems)


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
    add_model_options(parser)
    add("--output-dir", type=Path, help="write NAME.txt and NAME.json here, folders as they were found")
    add(
        "--format",
        choices=("txt", "json", "both"),
        default="txt",
        help="json has times (default %(default)s)",
    )
    add("--overwrite", action="store_true", help="transcribe again what has its output already")
    add(
        "--decoding",
        choices=("greedy", "beam", "joint"),
        default="greedy",
        help="greedy: the fast one; beam: CTC and a language model; joint: with the attention decoder, too, "
        "for which ESPnet must be installed (default %(default)s)",
    )
    add("--decode-config", type=Path, metavar="YAML", help="of beam and joint: beam_size, ctc_weight, ...")
    add("--beam-size", type=int, help="of beam and joint: hypotheses kept (default 10)")
    add("--ctc-weight", type=float, help="of joint: 0 attention only, 1 CTC only (default 0.5)")
    add("--lm-weight", type=float, help="of beam and joint: the language model's weight (default 0)")
    add("--lm", metavar="EXP", help="the language model (default: the one in the bundle or beside it)")
    add("--model-file", help="another model of the experiment than the average of its best epochs")
    add("--max-seconds", type=positive, default=25.0, help="longer recordings are cut (default %(default)g)")
    add("--batch-seconds", type=positive, default=120.0, help="audio decoded at once (default %(default)g)")
    args = parser.parse_args(argv)
    if args.format == "both" and not args.output_dir:
        parser.error("--format both needs --output-dir")
    for name in ("decode_config", *SEARCH):
        if getattr(args, name) is not None and args.decoding == "greedy":
            parser.error(f"--{name.replace('_', '-')} is for --decoding beam and joint")
    return args


def output_files(base: Path, form: str) -> dict[str, Path]:
    """The files to write for one recording, by kind."""
    return {kind: Path(f"{base}.{kind}") for kind in (("txt", "json") if form == "both" else (form,))}


def is_done(base: Path | None, form: str) -> bool:
    """Whether all outputs of a file are there; they are written whole, so what is there is complete."""
    return base is not None and all(path.is_file() for path in output_files(base, form).values())


def transcribe(todo: list[Found], outputs: dict[Found, Path], args) -> list[str]:
    """Transcribe, write and say what was done; returns the names of the files that failed."""
    from imlspike.inference import Speech2Text

    use_threads(args)
    total = int(sum(seconds_of(file.path) for file in todo))
    say(f"{len(todo)} files, {total / 60:.1f} min of audio; opening {args.model}")
    options = decode_options(args)
    s2t = Speech2Text.from_pretrained(args.model, args.decoding, args.device, args.model_file, **options)
    made_by = {"model": args.model, "decoding": args.decoding, "version": imlspike.__version__}
    follow, begin = Progress("seconds of audio transcribed"), time.monotonic()

    def progress(seconds: float) -> None:
        if seconds < total:
            follow(int(seconds), total)

    progress(0)
    paths = [file.path for file in todo]
    results = s2t.transcribe(paths, args.max_seconds, args.batch_seconds, "return", progress)
    summary, failed = Summary(), []
    for file, result in zip(todo, results, strict=True):
        if result.error:
            say(result.error)
            failed.append(result.file)
        else:
            write(result, outputs.get(file), args.format, made_by)
            summary.add(result.seconds)
            summary.note_audio(result.file, result.sampling_rate, result.channels, s2t.sampling_rate)
            if not result.text:
                summary.note("without a recognised word", result.file)
    say(summary.text(time.monotonic() - begin))
    return failed


def decode_options(args) -> dict:
    """The options of the search: those of an ESPnet decoding YAML, and over them the command line's."""
    given = {name: getattr(args, name) for name in SEARCH if getattr(args, name) is not None}
    if args.decode_config is None:
        return given
    from imlspike.inference.beam_search import read_options

    return asdict(read_options(args.decode_config)) | given


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
