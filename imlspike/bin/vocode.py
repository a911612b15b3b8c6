"""Re-synthesise audio files, or turn mel spectrograms into audio, with a trained vocoder.

imlspike vocode in.wav out.wav --model exp/tsm_kd
imlspike vocode recordings/ mels/*.npy out/ --model exp/tsm_kd --format flac
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from imlspike.bin._files import (
    AUDIO,
    Found,
    Outcome,
    Summary,
    about,
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
from imlspike.data.audio import audio_format, stream_audio
from imlspike.data.mel import SUFFIXES, mel_blocks, open_mel
from imlspike.data.progress import Progress
from imlspike.data.write_audio import FORMATS, write_audio
from imlspike.inference import Vocoder

say = teller("vocode")


def main(argv=None) -> int:
    """Vocode what the command line names; 1 if a file could not be done, the others are."""
    args = parse(argv)
    return exit_status(lambda: run(args), say, "vocoded")


def run(args) -> Outcome:
    """Find the files, and do those that aren't done yet."""
    one = is_file_name(args)
    folder = None if one else args.output
    found, problems = find_files(args.inputs, AUDIO | set(SUFFIXES), say, "audio or mel", folder)
    for problem in problems:
        say(problem)
    outputs = {found[0]: args.output} if one else name_wavs(found, args.output, args.format)
    refuse_inputs(outputs)
    todo = left_to_do(found, lambda file: outputs[file].is_file(), one or args.overwrite, say)
    return Outcome(len(found), vocode(todo, outputs, args) if todo else [], problems)


def parse(argv):
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="imlspike vocode",
        description="Audio files through their mel spectrogram and back (copy-synthesis), or audio from mel "
        "spectrograms: .npy or .pt, (n_mels, frames) as Vocoder.features computes them. Audio of any "
        "sampling rate is resampled, channels are mixed down. Writes mono 16 bit at the model's rate.",
    )
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="IN", help="files, or folders (searched with their folders)")
    add("output", type=Path, metavar="OUT", help=".wav or .flac for one IN file; otherwise a folder")
    add_model_options(parser)
    add("--format", choices=("wav", "flac"), default="wav", help="of files in a folder (default %(default)s)")
    add("--overwrite", action="store_true", help="do again what the folder OUT holds already")
    add("--chunk-seconds", type=positive, default=10.0, help="audio computed at once (default %(default)g)")
    return parser.parse_args(argv)


def is_file_name(args) -> bool:
    """Whether OUT names a file, as for one IN file it may.

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
    return True


def name_wavs(found: list[Found], folder: Path, form: str) -> dict[Found, Path]:
    """Where each file's output goes in a folder."""
    return {file: Path(f"{base}.{form}") for file, base in name_outputs(found, folder).items()}


def refuse_inputs(outputs: dict[Found, Path]) -> None:
    """Never write onto what is read.

    Raises:
        ValueError: naming the first such file.
    """
    inputs = {file.path.resolve() for file in outputs}
    for output in outputs.values():
        if output.resolve() in inputs:
            raise ValueError(f"{output}: would replace an input; name another OUT")


def vocode(todo: list[Found], outputs: dict[Found, Path], args) -> list[str]:
    """Compute, write and say what was done; returns the names of the files that failed."""
    use_threads(args)
    vocoder = Vocoder.from_pretrained(args.model, args.device, args.chunk_seconds)
    total = sum(length_of(file.path, vocoder) for file in todo)
    say(f"{len(todo)} files, {total / 60:.1f} min of audio, with {args.model} at {vocoder.sampling_rate} Hz")
    summary, failed, begin = Summary(), [], time.monotonic()
    follow = Progress("seconds of audio vocoded")
    follow(0, int(total) + 1)
    for file in todo:
        before = summary.seconds

        def progress(seconds: float, before=before) -> None:
            if before + seconds < total:
                follow(int(before + seconds), int(total) + 1)

        try:
            vocode_one(vocoder, file.path, outputs[file], summary, progress)
        except (OSError, ValueError, FloatingPointError) as error:
            say(about(str(file.path), error))
            failed.append(str(file.path))
    say(summary.text(time.monotonic() - begin))
    return failed


def length_of(path: Path, vocoder: Vocoder) -> float:
    """Seconds of audio that come out of a file; 0 where only reading it would tell."""
    if path.suffix.lower() == ".npy":
        try:
            return open_mel(path).shape[1] * vocoder.hop_length / vocoder.sampling_rate
        except ValueError:  # reported when it is its turn
            return 0.0
    return 0.0 if path.suffix.lower() in SUFFIXES else seconds_of(path)


def vocode_one(
    vocoder: Vocoder, path: Path, output: Path, summary: Summary, progress: Callable[[float], None]
) -> None:
    """One file from the disk to the disk, block by block."""
    if path.suffix.lower() in SUFFIXES:
        blocks: Iterable = mel_blocks(open_mel(path))
        form = None
    else:
        form = audio_format(path)
        blocks = stream_audio(path, vocoder.sampling_rate, on_mismatch="convert")

    def audio() -> Iterator:
        done = 0
        for block in vocoder.stream(blocks):
            done += len(block)
            yield block.numpy()
            progress(done / vocoder.sampling_rate)

    output.parent.mkdir(parents=True, exist_ok=True)
    written = write_audio(output, audio(), vocoder.sampling_rate)
    summary.add(written.samples / vocoder.sampling_rate)
    if form:
        summary.note_audio(str(path), form.sampling_rate, form.channels, vocoder.sampling_rate)
    if written.clipped:
        summary.note("louder than full scale in places, clipped there", str(output))


if __name__ == "__main__":
    sys.exit(main())
