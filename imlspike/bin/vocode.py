"""Re-synthesise audio files, or turn mel spectrograms into audio, with a trained vocoder.

imlspike vocode in.wav out.wav --model exp/tsm_kd
imlspike vocode recordings/ mels/*.npy out/ --model exp/tsm_kd --format flac
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imlspike.bin._command import (
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
    seconds_of,
)
from imlspike.bin._manifest import Manifest
from imlspike.data.audio import audio_format, stream_audio
from imlspike.data.files import check_output, make_folder
from imlspike.data.mel import SUFFIXES, mel_blocks, open_mel
from imlspike.data.progress import Progress
from imlspike.data.segment import MOST_SECONDS
from imlspike.data.write_audio import FORMATS, write_audio

if TYPE_CHECKING:
    from imlspike.export.engine import OnnxVocoder
    from imlspike.inference import Vocoder


def parse(argv) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="imlspike vocode",
        description="Audio files through their mel spectrogram and back (copy-synthesis), or audio from mel "
        "spectrograms: .npy or .pt, (n_mels, frames) as Vocoder.features computes them. Audio of any "
        "sampling rate is resampled, channels are mixed down. Writes mono 16 bit at the model's rate.",
    )
    add = parser.add_argument
    add("inputs", nargs="+", type=named, metavar="IN", help="files, or folders (searched with their folders)")
    add("output", type=named, metavar="OUT", help=".wav or .flac for one IN file; otherwise a folder")
    add_model_options(parser)
    add_channel(parser)
    add("--format", choices=("wav", "flac"), help="of files in a folder (default wav)")
    add("--overwrite", action="store_true", help="do again what the folder OUT holds already")
    add(
        "--chunk-seconds",
        type=number(0.01, MOST_SECONDS),
        default=10.0,
        help="audio computed at once (default %(default)g)",
    )
    add_engine(parser)
    args = parser.parse_args(argv)
    if args.engine == "onnx":
        refuse_for_onnx(parser, args, device="cpu", weight_bits=None)
    return args


def open_vocoder(args) -> Vocoder | OnnxVocoder:
    """The vocoder of the options."""
    if args.engine == "onnx":
        from imlspike.export.engine import OnnxVocoder

        return OnnxVocoder(args.model, args.threads, args.chunk_seconds)
    from imlspike.inference import Vocoder

    use_threads(args)
    return Vocoder.from_pretrained(args.model, args.device, args.chunk_seconds, weight_bits=args.weight_bits)


def is_file_name(args) -> bool:
    """Tell that OUT names a file, as for one IN file it may.

    Raises:
        ValueError: if it looks like a file's name where it can't be one, or can't be written.
    """
    suffix = args.output.suffix.lower()
    if args.output.is_dir() or suffix not in AUDIO:
        return False
    if suffix not in FORMATS:
        raise ValueError(f"{args.output}: {suffix} can't be written; name it .wav or .flac, or name a folder")
    if len(args.inputs) > 1 or args.inputs[0].is_dir():
        raise ValueError(f"{args.output}: one file for several inputs; name a folder")
    if args.format not in (None, suffix[1:]):
        raise ValueError(f"{args.output}: --format {args.format} is of a folder; name it .{args.format}")
    check_output(args.output, is_file=True)
    return True


def vocode(
    todo: list[Found],
    outputs: dict[Found, dict[Path, str | int]],
    manifest: Manifest | None,
    args,
    report: Report,
) -> None:
    """Compute, write and report; `outputs` and the channel of each."""
    vocoder = open_vocoder(args)
    total = sum(length_of(file.path, vocoder) * len(outputs[file]) for file in todo)
    told = f"{total / 60:.1f} min of audio, with {args.model} at {vocoder.sampling_rate} Hz"
    report.say(f"{len(todo)} files, {told}")
    report.restart()
    shown = Progress("seconds of audio vocoded")

    def progress(seconds: float) -> None:
        if report.seconds + seconds < total:
            shown(int(report.seconds + seconds), int(total) + 1)

    progress(0)
    for file in todo:
        for output, channel in outputs[file].items():
            try:
                with manifest.making(file.path, [output]) if manifest else nullcontext():
                    vocode_one(vocoder, file.path, output, channel, report, progress)
            except Exception as error:  # whatever a file does to a library, the others are done
                report.fail(str(file.path), error)
                break


def length_of(path: Path, vocoder: Vocoder | OnnxVocoder) -> float:
    """Seconds of audio that come out of a file; 0 where only reading it would tell."""
    if path.suffix.lower() not in SUFFIXES:
        return seconds_of(path)
    try:
        is_array = path.suffix.lower() == ".npy"
        return open_mel(path).shape[1] * vocoder.hop_length / vocoder.sampling_rate if is_array else 0.0
    except ValueError:  # reported when it is its turn
        return 0.0


def vocode_one(
    vocoder: Vocoder | OnnxVocoder,
    path: Path,
    output: Path,
    channel: str | int,
    report: Report,
    progress: Callable[[float], None],
) -> None:
    """One file from the disk to the disk, block by block."""
    rate, notes, gain = vocoder.sampling_rate, [], 1.0
    if path.suffix.lower() in SUFFIXES:
        blocks, form = mel_blocks(open_mel(path)), None
    else:
        form = audio_format(path)
        read = partial(stream_audio, path, rate, on_mismatch="convert", channel=channel)
        gain, blocks = vocoder.gain(read(note=lambda text: None)), read(note=notes.append)

    def audio() -> Iterator:
        done = 0
        for block in vocoder.stream(blocks, gain=gain):
            done += len(block)
            yield np.asarray(block)
            progress(done / rate)

    make_folder(output.parent)
    written = write_audio(output, audio(), rate)
    report.add(str(path), written.samples / rate)
    if form:
        report.note_audio(str(path), form.sampling_rate, rate, notes)
    report.note("louder than full scale in places, clipped there", str(output), written.clipped > 0)


@command
def main(argv=None) -> int:
    """Vocode what the command line names; 1 if a file could not be done, the others are."""
    args, report = parse(argv), Report(teller("vocode"))
    one = is_file_name(args)
    found = find_files(
        args.inputs, AUDIO | set(SUFFIXES), report, "audio or mel", None if one else args.output
    )
    options = {"channel": args.channel} | ({"weight_bits": args.weight_bits} if args.weight_bits else {})
    options |= {"engine": "onnx"} if args.engine == "onnx" else {}
    manifest = None if one else Manifest(args.output, args.model, options)
    bases = {found[0]: args.output.with_suffix("")} if one else name_outputs(found, args.output)
    suffix = args.output.suffix if one else f".{args.format or 'wav'}"
    outputs: dict[Found, dict[Path, str | int]] = {}
    for file, base in bases.items():
        is_mel = file.path.suffix.lower() in SUFFIXES
        which = ["mix"] if is_mel else channels_of(file.path, args.channel)
        parts = {
            channel: f".channel{channel}" if args.channel == "all" and not is_mel else "" for channel in which
        }
        outputs[file] = {Path(f"{base}{part}{suffix}"): channel for channel, part in parts.items()}
    inputs = {os.path.realpath(file.path) for file in found}
    for output in (output for made in outputs.values() for output in made):
        if os.path.realpath(output) in inputs:
            raise ValueError(f"{output}: would replace an input; name another OUT")
    flat = {file: list(made) for file, made in outputs.items()}
    todo = left_to_do(flat, manifest, args.overwrite, report)
    if todo:
        with results():  # what libraries print is none
            vocode(todo, outputs, manifest, args, report)
    return report.end(len(found), "vocoded")
