"""Recognize speech while it is spoken: standard input or a file, with partial results.

arecord -q -t raw -f S16_LE -r 16000 -c 1 | imlspike stream - --model pretrained/streaming.zip --partial
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator

import numpy as np

from imlspike.bin._command import (
    add_engine,
    add_model_options,
    command,
    number,
    refuse_for_onnx,
    results,
    use_threads,
)

PIECE = 0.1  # seconds
CONTAINERS = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"ID3", b"caff", b".snd", b"#!AMR")
CONTAINERS += (b"\x1aE\xdf\xa3",)  # Matroska, WebM; an MP3 without tags begins as samples may


def samples_of(path: str, sampling_rate: int) -> Iterator[np.ndarray]:
    """Pieces of a file, or of standard input, which has 16 bit samples of one channel at this rate."""
    from imlspike.data.audio import stream_audio

    if path != "-":
        yield from stream_audio(path, sampling_rate, None, "convert", PIECE)
        return
    if sys.stdin is None:
        raise ValueError("standard input is closed; pipe samples in, or name a file")
    odd, begun = b"", False
    while piece := os.read(sys.stdin.fileno(), 2 * round(PIECE * sampling_rate)):
        if not begun and (piece.startswith(CONTAINERS) or piece[4:8] == b"ftyp"):  # the last: MP4
            raise ValueError(
                "standard input is a file with a header; expected bare samples: name the file, or pipe what "
                f"'ffmpeg -v error -i FILE -f s16le -ar {sampling_rate} -ac 1 -' writes"
            )
        piece, begun = odd + piece, True
        whole = len(piece) // 2 * 2
        odd = piece[whole:]
        yield np.frombuffer(piece[:whole], "<i2")


def until_interrupted(pieces: Iterable[np.ndarray], stopped: list) -> Iterator[np.ndarray]:
    """The pieces until Ctrl-C, as who listens to a microphone ends it; `stopped` isn't empty then.

    What is being computed when it comes is computed to its end; a second Ctrl-C is an interruption.
    """
    reading, pieces = False, iter(pieces)

    def stop(number, frame):
        stopped.append(number)
        if reading or len(stopped) > 1:
            raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, stop) if ours else None
    try:
        while not stopped:
            try:
                reading = True
                piece = next(pieces)
            except (StopIteration, KeyboardInterrupt):
                return
            finally:
                reading = False
            yield piece
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


@command
def main(argv=None) -> int:
    """Print 'START<tab>END<tab>TEXT' of each utterance as soon as it ends, in seconds."""
    parser = argparse.ArgumentParser(prog="imlspike stream", description=main.__doc__)
    add = parser.add_argument
    add("path", metavar="FILE", help="of audio; -: 16 bit samples of one channel at the model's rate come in")
    add_model_options(parser)
    add(
        "--look-ahead", type=number(0, 10000, int), metavar="TOKENS", help="default: the most of its training"
    )
    add("--pause", type=number(0.2, 1000), default=0.8, help="seconds that end an utterance (%(default)s)")
    add_engine(parser)
    add("--partial", action="store_true", help="also print '...<tab>TEXT' when the text so far changes")
    args = parser.parse_args(argv)
    if args.engine == "onnx":
        if args.look_ahead is not None:
            parser.error("--look-ahead: an exported stream has that of its export; export it anew")
        refuse_for_onnx(parser, args, device="cpu", weight_bits=None)
        from imlspike.export.engine import OnnxStream

        stream = OnnxStream(args.model, args.threads, args.pause)
    else:
        use_threads(args)
        from imlspike.inference import Speech2Text

        s2t = Speech2Text.from_pretrained(args.model, device=args.device, weight_bits=args.weight_bits)
        stream = s2t.stream(args.look_ahead, pause=args.pause)
    with results() as show:

        def tell(heard) -> None:
            for one in heard:
                if one.final:
                    show(f"{one.start:.2f}\t{one.end:.2f}\t{one.text}")
                elif args.partial:
                    show(f"...\t{one.text}")

        stopped: list = []
        for piece in until_interrupted(samples_of(args.path, stream.sampling_rate), stopped):
            tell(stream.accept(piece))
        tell(stream.finish())
    return 130 if stopped else 0
