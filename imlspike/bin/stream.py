"""Recognize speech while it is spoken: standard input or a file, with partial results.

arecord -q -t raw -f S16_LE -r 16000 -c 1 | imlspike stream - --model exp/quick_streaming --partial
"""

import argparse
import os
import sys
from collections.abc import Iterator

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


def samples_of(path: str, sampling_rate: int) -> Iterator[np.ndarray]:
    """Pieces of a file, or of standard input, which has 16 bit samples of one channel at this rate."""
    from imlspike.data.audio import stream_audio

    if path != "-":
        yield from stream_audio(path, sampling_rate, None, "convert", PIECE)
        return
    odd = b""
    while piece := os.read(sys.stdin.fileno(), 2 * round(PIECE * sampling_rate)):
        piece = odd + piece
        whole = len(piece) // 2 * 2
        odd = piece[whole:]
        yield np.frombuffer(piece[:whole], "<i2")


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
        refuse_for_onnx(parser, args, look_ahead=None, device="cpu", weight_bits=None)
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

        for piece in samples_of(args.path, stream.sampling_rate):
            tell(stream.accept(piece))
        tell(stream.finish())
    return 0
