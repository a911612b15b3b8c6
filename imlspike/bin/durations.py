"""Turn phone labels (.lab, .TextGrid) into frames of each symbol, to train a voice on.

imlspike durations --labels lab --data-dir dump/phn/train --output-file dump/phn/train/durations
imlspike durations --labels lab --data-dir data/train --symbols-dir symbols/train --punctuate
"""

import argparse
from dataclasses import replace
from pathlib import Path

from imlspike.bin._command import command
from imlspike.bin._files import output_dir, output_file
from imlspike.data.audio import audio_format, read_audio
from imlspike.data.files import make_folder, write_kaldi
from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded, write_data_dir
from imlspike.data.labels import (
    TIER,
    check_labelled,
    find_labels,
    frames_until,
    punctuated,
    read_labels,
    symbol_ends,
)
from imlspike.data.progress import Progress
from imlspike.text.tokens import read_tokens


def parse(argv) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="imlspike durations",
        description="Frames of each symbol of a data directory's texts by the labels of its recordings, as "
        "many in sum as the mel spectrogram has; for ESPnet's training (durations, text_int). Texts must "
        "hold the labels' phones, punctuation aside; --symbols-dir makes such texts.",
    )
    add = parser.add_argument
    add("--labels", type=Path, required=True, help="folder with <utterance>.lab, .TextGrid or .interval")
    add("--data-dir", type=Path, required=True, help="Kaldi directory; its text in symbols, for durations")
    add("--output-file", type=output_file, metavar="FILE", help="Kaldi table to write: frames of each symbol")
    add("--symbols-dir", type=output_dir, metavar="DIR", help="copy with the labels' phones as text")
    add(
        "--punctuate",
        action="store_true",
        help="with --symbols-dir: pauses as front ends write them, a comma or at the end a full stop; one at "
        "the beginning is the first phone's",
    )
    add("--tokens", type=Path, metavar="FILE", help="a token list that must have all symbols")
    add("--hop-length", type=int, default=256, help="samples in a frame (default: %(default)s)")
    add("--tier", default=TIER, help="of a TextGrid with several (default: %(default)s)")
    args = parser.parse_args(argv)
    if not (args.output_file or args.symbols_dir):
        parser.error("nothing to write: give --output-file, --symbols-dir or both")
    if args.punctuate and not args.symbols_dir:
        parser.error("--punctuate goes with --symbols-dir")
    if args.hop_length < 1:
        parser.error("--hop-length must be at least 1")
    return args


def align(utterance: Utterance, path: Path, args) -> tuple[list[str], list[int]]:
    """Symbols of an utterance, and the frames of each if they are asked for."""
    rate = audio_format(utterance.wav, utterance.id).sampling_rate
    samples = len(read_audio(utterance.wav, rate, utterance.id))
    phones = read_labels(path, args.tier, samples / rate)
    if args.punctuate:
        symbols = punctuated(phones)
    else:
        symbols = [phone.name for phone in phones] if args.symbols_dir else utterance.text.split()
    if not args.output_file:
        return symbols, []
    ends = symbol_ends(symbols, phones, utterance.id)
    frames = samples // args.hop_length + 1
    return symbols, frames_until(ends, frames, args.hop_length / rate, utterance.id)


@command
def main(argv=None) -> None:
    """Write what the command line asks for, unless labels are missing or don't fit: these are all listed."""
    args = parse(argv)
    utterances = read_data_dir(args.data_dir)
    labels = find_labels(args.labels)
    check_labelled([utterance.id for utterance in utterances], labels, args.labels)
    known = set(read_tokens(args.tokens)) if args.tokens else None
    durations, spoken, problems = {}, [], []
    progress = Progress("label files read")
    for number, utterance in enumerate(utterances, 1):
        try:
            symbols, frames = align(utterance, labels[utterance.id], args)
            if known is not None and (missing := [s for s in dict.fromkeys(symbols) if s not in known]):
                raise ValueError(f"{utterance.id}: not in {args.tokens}: {', '.join(map(repr, missing))}")
        except ValueError as error:
            problems.append(str(error))
        else:
            durations[utterance.id] = " ".join(map(str, frames))
            spoken.append(replace(utterance, text=" ".join(symbols)))
        progress(number, len(utterances))
    if problems:
        head = f"{args.data_dir}: {len(problems)} of {len(utterances)} utterances don't fit their labels:"
        raise ValueError("\n".join([head, *(f"  {problem}" for problem in problems)]))
    if args.symbols_dir:
        write_data_dir(args.symbols_dir, spoken, read_excluded(args.data_dir))
        print(f"{args.symbols_dir}: {len(spoken)} utterances with the phones of {args.labels}")
    if args.output_file:
        make_folder(args.output_file.parent)
        write_kaldi(args.output_file, durations)
        print(f"{args.output_file}: durations of {len(durations)} utterances")
