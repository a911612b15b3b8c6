"""Speak a text, or all texts of a data directory, with a trained voice.

imlspike synthesize "Текст." out.wav --model exp/stsa --vocoder ../voc1/exp/tsm_kd
imlspike synthesize - book.flac --model exp/stsa < book.txt
imlspike synthesize "Dobrý den." out.wav --model exp/both --speaker cs-small
imlspike synthesize "Текст." out.wav --engine onnx --model onnx/voice --vocoder onnx/vocoder
imlspike synthesize --data-dir dump/phn/test --output-dir exp/stsa/free --model exp/stsa --mode free --nj 2
"""

import argparse
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

import imlspike
from imlspike.bin._command import (
    Report,
    add_engine,
    add_model_options,
    command,
    number,
    refuse_for_onnx,
    teller,
    use_threads,
)
from imlspike.bin._files import output_dir, output_file
from imlspike.bin._synthesis import CONTROLS, controls, lufs, open_voice, speak_utterance, target
from imlspike.data.controls import LEAST_FACTOR, MOST_FACTOR
from imlspike.data.files import make_folder, write_kaldi
from imlspike.data.kaldi import read_data_dir
from imlspike.data.labels import read_durations
from imlspike.data.parallel import map_parallel
from imlspike.data.progress import Progress
from imlspike.data.write_audio import write_audio
from imlspike.data.yaml_file import write_yaml
from imlspike.inference.loudness import LOUDNESS
from imlspike.inference.speaking import MOST_PAUSE, PAUSE
from imlspike.text.phonemes import ON_UNKNOWN

PER_PROCESS = 8  # utterances that are worth a process, which opens the voice anew
CLIPPED = "louder than full scale in places, clipped there"
LIMITED = "peaks turned down, for which full scale has no room at this loudness"


def parse(argv) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="imlspike synthesize",
        description="Speak one text of any length, or the texts of a data directory in symbols (as `imlspike "
        "phonemes` writes it), each into <output-dir>/wav/<utterance>.wav; with the frames of each symbol "
        "in <output-dir>/durations and what was done in <output-dir>/synthesis.yaml.",
    )
    add = parser.add_argument
    add("text", nargs="?", help="what to say; - reads the standard input")
    add("output", nargs="?", type=output_file, metavar="OUT", help="the .wav or .flac file to write")
    add_model_options(parser)
    add("--model-file", help="another model of the experiment than the average of its best epochs")
    add("--vocoder", default="griffin_lim", help="a vocoder, named like a model (default: %(default)s)")
    add_engine(parser)
    told = "for a voice with several: a name; without one, an error lists them with their languages "
    add("--speaker", help=f"{told}(default, of a set: each text's own)")
    told = "of the text, for a voice with several: nl, cs, ... (default: the speaker's own)"
    add("--language", help=told)
    for name, more in CONTROLS.items():
        add(
            f"--{name}",
            type=number(LEAST_FACTOR, MOST_FACTOR),
            default=1.0,
            help=f"1.1 is 10 %% {more} (default %(default)g)",
        )
    add("--pause", type=number(0, MOST_PAUSE), help=f"seconds between sentences (default {PAUSE:g})")
    add("--loudness", type=lufs, help="in LUFS, or none (default -23; none of --mode forced and natural)")
    add("--on-unknown", choices=ON_UNKNOWN, help="of characters that can't be spoken (default error)")
    add("--data-dir", type=Path, help="speak all texts of this data directory")
    add("--output-dir", type=output_dir, help="of a set: where to write")
    add(
        "--mode",
        choices=("free", "forced", "natural"),
        default="free",
        help="of a set: free; forced: durations, pitch and energy of natural speech; natural: its mel "
        "through the vocoder (default %(default)s)",
    )
    add("--durations", type=Path, help="of --mode forced: frames of each symbol (default: the aligner's)")
    add(
        "--nj",
        type=number(1, 1000, int),
        default=1,
        help="of a set: processes, a thread each (default %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.loudness is None:
        args.loudness = LOUDNESS if args.mode == "free" else "none"
    if args.data_dir and (args.text or not args.output_dir):
        parser.error("--data-dir goes with --output-dir, and without TEXT and OUT")
    if not args.data_dir and (args.output is None or args.output_dir):
        parser.error("expected TEXT and OUT, or --data-dir and --output-dir")
    if args.data_dir and args.language is not None:
        parser.error("--language is for TEXT; a set is in symbols already (imlspike phonemes)")
    if args.data_dir and args.on_unknown is not None:
        parser.error("--on-unknown is for TEXT; a set is in symbols already (imlspike phonemes)")
    if args.data_dir and args.pause is not None:
        parser.error("--pause is for TEXT, between its sentences; a set's texts are a sentence each")
    args.on_unknown = args.on_unknown or "error"
    args.pause = PAUSE if args.pause is None else args.pause
    if args.mode != "free":
        if not args.data_dir:
            parser.error(f"--mode {args.mode} is for --data-dir")
        if wrong := [name for name in CONTROLS if getattr(args, name) != 1.0]:
            parser.error(f"--{wrong[0]} is for --mode free; {args.mode} takes it from natural speech")
    if args.durations and args.mode != "forced":
        parser.error("--durations is for --mode forced")
    if args.engine == "onnx":
        refuse_for_onnx(parser, args, mode="free", device="cpu", model_file=None, weight_bits=None)
        if args.vocoder == "griffin_lim":
            parser.error("--vocoder griffin_lim is for --engine torch; name a vocoder that was exported")
    return args


def speak_text(args, report: Report) -> int:
    """One text, sentence by sentence, into a file; 1: there was one to speak."""
    text = sys.stdin.read().removeprefix("\ufeff") if args.text == "-" else args.text
    voice, progress = open_voice(args), Progress("characters spoken")
    report.restart()
    if text:
        progress(0, len(text))

    skipped: set[str] = set()
    limited = False

    def audio() -> Iterator[np.ndarray]:
        nonlocal limited
        done = 0
        how = {"pause": args.pause, "on_unknown": args.on_unknown, "loudness": target(args)}
        for part in voice.stream(text, args.speaker, language=args.language, **controls(args), **how):
            skipped.update(part.skipped)
            limited = limited or part.limited
            yield part.audio
            done += len(part.text)
            if done < len(text):
                progress(done, len(text))

    make_folder(args.output.parent)
    written = write_audio(args.output, audio(), voice.sampling_rate)
    report.add(str(args.output), written.samples / voice.sampling_rate)
    report.note(CLIPPED, str(args.output), written.clipped > 0)
    report.note(LIMITED, str(args.output), limited)
    report.note("left out, as they can't be spoken", " ".join(map(repr, sorted(skipped))), bool(skipped))
    return 1


def speak_set(args, report: Report) -> int:
    """The texts of a data directory, in several processes; returns how many there are."""
    durations = read_durations(args.durations) if args.durations else None
    utterances = read_data_dir(args.data_dir)
    if not utterances:
        raise ValueError(f"{args.data_dir}: holds no utterance; there is nothing to speak")
    voice = open_voice(args).voice  # what can't be opened is known before anything is written
    if args.speaker is not None:
        voice.speaker_number(args.speaker)
    folder = args.output_dir / "wav"
    make_folder(folder)
    report.say(f"{len(utterances)} utterances, {args.mode}, with {args.model} and {args.vocoder}")
    report.restart()
    work, done = partial(speak_utterance, args, durations), []
    for one in map_parallel(work, utterances, args.nj, Progress("utterances spoken"), PER_PROCESS):
        if one.error:
            report.fail(one.utterance, one.error)
            continue
        done.append(one)
        report.add(one.utterance, one.seconds)
        report.note(CLIPPED, f"{folder}/{one.utterance}.wav", one.clipped > 0)
        report.note(LIMITED, f"{folder}/{one.utterance}.wav", one.limited)
    if args.mode != "natural":  # which has no symbols
        table = {one.utterance: " ".join(map(str, one.durations)) for one in done}
        write_kaldi(args.output_dir / "durations", table)
    took, processes = sum(one.took for one in done), min(args.nj, -(-len(utterances) // PER_PROCESS))
    names = (
        "mode",
        "data_dir",
        "model",
        "model_file",
        "vocoder",
        "engine",
        "device",
        "durations",
        "loudness",
        *CONTROLS,
    )
    given = {name: getattr(args, name) for name in names}
    content = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()} | {
        "utterances": len(done),
        "seconds_of_audio": round(report.seconds, 3),
        "seconds_of_computing": round(took, 3),
        "computing_per_second_of_audio": round(took / report.seconds, 4) if report.seconds else None,
        "processes": processes,
        "threads_of_each": threads_of(args) if processes <= 1 else 1,
        "failed": report.failed,
        "version": imlspike.__version__,
    }
    write_yaml(args.output_dir / "synthesis.yaml", content)
    return len(utterances)


def threads_of(args) -> int:
    """How many threads a process computes with."""
    if args.engine == "onnx":
        return args.threads or os.cpu_count() or 1
    import torch

    return torch.get_num_threads()


@command
def main(argv=None) -> int:
    """Speak what the command line names; 1 if a text could not be spoken, the others are."""
    args = parse(argv)
    report = Report(teller("synthesize"), "utterances" if args.data_dir else "texts")
    if args.engine == "torch":
        use_threads(args)
    total = speak_set(args, report) if args.data_dir else speak_text(args, report)
    return report.end(total, "spoken")
