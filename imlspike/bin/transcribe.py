"""Transcribe audio files or whole folders with a trained recognizer.

imlspike transcribe interview.mp3 recordings/ --model exp/full --output-dir texts --format both
"""

import argparse
import json
import os
from contextlib import nullcontext
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import imlspike
from imlspike.bin._command import (
    BREAKS,
    Report,
    add_engine,
    add_model_options,
    command,
    number,
    refuse_for_onnx,
    results,
    teller,
    use_threads,
)
from imlspike.bin._files import (
    AUDIO,
    Found,
    add_channel,
    channels_of,
    find_files,
    left_to_do,
    name_outputs,
    named,
    output_dir,
    seconds_of,
)
from imlspike.bin._manifest import Manifest, sha256_of_model
from imlspike.data.captions import FORMATS, write_format
from imlspike.data.files import atomic_write
from imlspike.data.keys import MOST_SECONDS
from imlspike.data.progress import Progress
from imlspike.data.transcript import Transcript

KINDS = ("txt", "json", *FORMATS)
SEARCH = ("beam_size", "ctc_weight", "lm_weight", "lm")  # options of the search, as Speech2Text has them


def parse(argv) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="imlspike transcribe",
        description="Transcribe audio files and folders of them. Any sampling rate; several channels are "
        "mixed down; long recordings are cut at pauses. Without --output-dir, prints 'FILE<tab>TEXT' each.",
    )
    add, told = parser.add_argument, "folders are searched with their folders"
    add("paths", nargs="+", type=named, metavar="FILE_OR_FOLDER", help=told)
    add_model_options(parser)
    add_channel(parser)
    told = "write NAME.txt, NAME.json ... here, folders as they were found, and what they were made of in "
    add("--output-dir", type=output_dir, help=f"{told} manifest.jsonl")
    told = f"one of {', '.join(KINDS)}, or several with commas, which needs --output-dir; both is txt,json; "
    told += "all but txt have the times of words (default txt)"
    add("--format", type=kinds, default=("txt",), help=told)
    add("--overwrite", action="store_true", help="transcribe again what has its output already")
    add(
        "--decoding",
        choices=("greedy", "beam", "joint"),
        default="greedy",
        help="greedy: the fast one; beam: CTC and a language model; joint: with the attention decoder, too, "
        "for which ESPnet must be installed (default %(default)s)",
    )
    add("--decode-config", type=Path, metavar="YAML", help="of beam and joint: beam_size, ctc_weight, ...")
    told = "of beam and joint: hypotheses kept (default: the model's own, or 10)"
    add("--beam-size", type=number(1, 1000, int), help=told)
    add("--ctc-weight", type=number(0, 1), help="of joint: 0 attention only, 1 CTC only (default 0.5)")
    told = "of beam and joint: the language model's weight (default: the model's own, or 0)"
    add("--lm-weight", type=number(0, 100), help=told)
    add("--lm", metavar="EXP", help="the language model (default: the one in the bundle or beside it)")
    add_engine(parser)
    add("--model-file", help="another model of the experiment than the average of its best epochs")
    add(
        "--max-seconds",
        type=number(1, MOST_SECONDS),
        default=25.0,
        help="longer recordings are cut (default %(default)g)",
    )
    add(
        "--batch-seconds",
        type=number(0.1, MOST_SECONDS),
        default=120.0,
        help="audio decoded at once (default %(default)g)",
    )
    told = "batches decoded at once, with --threads each (default: the cores shared among them); results "
    add("--nj", type=number(1, 64, int), default=1, help=told + "are the same (default %(default)s)")
    args = parser.parse_args(argv)
    if len(args.format) > 1 and not args.output_dir:
        parser.error(f"--format {','.join(args.format)} needs --output-dir")
    for name in ("decode_config", *SEARCH):
        if getattr(args, name) is not None and args.decoding == "greedy":
            parser.error(f"--{name.replace('_', '-')} is for --decoding beam and joint")
    if args.engine == "onnx":
        refuse_for_onnx(parser, args, decoding="greedy", device="cpu", model_file=None, weight_bits=None)
    return args


def kinds(text: str) -> tuple[str, ...]:
    """Formats with commas between them, for argparse."""
    found = tuple(dict.fromkeys(text.replace("both", "txt,json").split(",")))
    if unknown := [part for part in found if part not in KINDS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(KINDS)}, both")
    return found


def transcribe(
    todo: list[Found], outputs: dict[Found, list[list[Path]]], manifest: Manifest | None, args, report: Report
) -> None:
    """Transcribe, write (or print what has no outputs) and report; `outputs` of each channel."""
    from imlspike.inference import Speech2Text

    args.threads = args.threads or (args.nj > 1 and max(1, (os.cpu_count() or 1) // args.nj))
    total = int(sum(seconds_of(file.path) * len(outputs[file]) for file in todo))
    report.say(f"{len(todo)} files, {total / 60:.1f} min of audio; opening {args.model}")
    options = decode_options(args)
    if args.engine == "onnx":
        from imlspike.export.engine import OnnxDecoder

        s2t = Speech2Text(OnnxDecoder(args.model, args.threads), args.model)
    else:
        use_threads(args)
        s2t = Speech2Text.from_pretrained(args.model, args.decoding, args.device, args.model_file, **options)
    made_by = {"model": args.model, "decoding": args.decoding, "version": imlspike.__version__}
    made_by |= {"weight_bits": args.weight_bits} if args.weight_bits else {}
    shown = Progress("seconds of audio transcribed")

    def progress(seconds: float) -> None:
        if seconds < total:
            shown(int(seconds), total)

    progress(0)
    report.restart()
    sources, searching = [file.path for file in todo], (args.max_seconds, args.batch_seconds)
    names = name_outputs(list(outputs), Path()) if "ctm" in args.format else {}
    heard = s2t.transcribe(sources, *searching, "return", progress, args.channel, args.nj)
    with results() as show:
        # A file that can't be read to its end has fewer results than channels, so go by whose they are.
        for file, (_, channels) in zip(todo, groupby(heard, lambda one: one.file), strict=True):
            for one, paths in zip(channels, outputs[file], strict=False):
                result = replace(one, name=str(names[file]) if names else None)
                if result.error:
                    report.fail(result.file, result.error)
                    continue
                try:
                    with manifest.making(file.path, paths) if manifest else nullcontext():
                        write(result, paths, made_by)
                    if not paths and (told := printed(result, args.format[0], made_by)):
                        show(told)
                except (OSError, ValueError) as error:  # ValueError: words without times
                    report.fail(result.file, error)
                    continue
                report.add(result.file, result.seconds)
                report.note_audio(result.file, result.sampling_rate, s2t.sampling_rate, result.notes)
                report.note("without a recognised word", result.file, not result.text)


def write(result: Transcript, paths: list[Path], made_by: dict) -> None:
    """Write a transcript, in the formats of the paths' suffixes."""
    for path in paths:
        with atomic_write(path) as out:
            if path.suffix == ".txt":
                out.write(result.lines())
            elif path.suffix == ".json":
                out.write(dump(result, made_by, 1) + "\n")
            else:
                out.write(escaped(write_format(result, path.suffix[1:].lower())))


def printed(result: Transcript, kind: str, made_by: dict) -> str:
    """A transcript as it is printed: its name and text, its JSON in one line, or what a file would hold."""
    if kind == "txt":
        name = f"{result.file} channel {result.channel}" if result.channel else result.file
        return f"{name.translate(BREAKS)}\t{result.text}"
    return dump(result, made_by) if kind == "json" else write_format(result, kind).removesuffix("\n")


def decode_options(args) -> dict:
    """Bits, and the options of the search: those of an ESPnet decoding YAML, over them the command line's."""
    names = (*SEARCH, "weight_bits")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.decode_config is None:
        return given
    from imlspike.data.yaml_file import read_yaml
    from imlspike.inference.beam_search import read_options

    read_options(args.decode_config)  # refuses what is wrong in it
    return read_yaml(args.decode_config) | given


def dump(result: Transcript, made_by: dict, indent: int | None = None) -> str:
    """A transcript as JSON, with the model that made it."""
    return escaped(json.dumps(result.as_dict() | made_by, ensure_ascii=False, indent=indent))


def escaped(content: str) -> str:
    """A text in which bytes of names that aren't UTF-8 are escapes."""
    return content.encode(errors="backslashreplace").decode()


@command
def main(argv=None) -> int:
    """Transcribe what the command line names; 1 if a file could not be transcribed, the others are."""
    args, report = parse(argv), Report(teller("transcribe"))
    found, manifest = find_files(args.paths, AUDIO, report), None
    outputs: dict[Found, list[list[Path]]] = {
        file: [[] for _ in channels_of(file.path, args.channel)] for file in found
    }
    if args.output_dir:
        options = {name: getattr(args, name) for name in ("decoding", "max_seconds", "channel", "model_file")}
        options |= {"engine": "onnx"} if args.engine == "onnx" else {}
        options |= decode_options(args)
        if args.lm or options.get("lm_weight"):
            beside = [args.lm] if args.lm else sorted(Path(args.model).absolute().parent.glob("lm*"))
            options["lm_sha256"] = [sha256_of_model(Path(lm)) for lm in beside]
        manifest = Manifest(args.output_dir, args.model, options)
        suffixes = ["TextGrid" if kind == "textgrid" else kind for kind in args.format]
        for file, base in name_outputs(found, args.output_dir).items():
            for number, paths in enumerate(outputs[file], 1):
                part = f".channel{number}" if args.channel == "all" else ""
                paths += [Path(f"{base}{part}.{suffix}") for suffix in suffixes]
    elif args.format[0] in ("srt", "vtt", "textgrid") and sum(map(len, outputs.values())) > 1:
        raise ValueError(f"--format {args.format[0]} of several recordings needs --output-dir")
    flat = {file: sum(channels, []) for file, channels in outputs.items()}
    todo = left_to_do(flat, manifest, args.overwrite, report)
    if todo:
        transcribe(todo, outputs, manifest, args, report)
    return report.end(len(found), "transcribed")
