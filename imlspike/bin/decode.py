"""Transcribe a data directory with an ESPnet experiment: CTC greedy search, batched, encoder folded.

    python -m imlspike.bin.decode --config exp/quick/config.yaml --data-dir data/test --output hyp/text
"""

import argparse
import sys
import time
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Write the Kaldi table of transcripts; print how many there are and how fast it went."""
    parser = argparse.ArgumentParser(prog="imlspike decode", description=main.__doc__)
    add = parser.add_argument
    add("--config", type=Path, required=True, help="config.yaml of the experiment")
    add("--model", type=Path, help="model file (default: the average of the first best_model_criterion)")
    add("--data-dir", type=Path, required=True, help="Kaldi directory; only wav.scp is read")
    add("--output", type=Path, required=True, help="the table 'utterance transcript' to write")
    add("--batch-seconds", type=float, default=120.0, help="audio in a batch (default %(default)s)")
    add("--convert", action="store_true", help="resample and mix down what doesn't match, don't refuse it")
    add("--device", default="cpu", help="cpu, cuda, ... (default %(default)s)")
    args = parser.parse_args(argv)
    from imlspike.espnet.decode import GreedyDecoder, average_criterion, decode_dir

    try:
        model = args.model or args.config.parent / average_criterion(args.config)
        decoder = GreedyDecoder(args.config, model, args.device)
        mismatch = "convert" if args.convert else "error"
        report = Report()
        result = decode_dir(
            decoder, args.data_dir, args.output, decoder.sampling_rate, args.batch_seconds, mismatch, report
        )
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"decode: {error}", file=sys.stderr)
        return 1
    print(
        f"{args.output}: {len(result.texts)} utterances, {result.audio_seconds / 60:.1f} min of audio in "
        f"{result.seconds:.1f} s"
    )
    if result.too_short:
        print(f"  {len(result.too_short)} too short, empty transcript: {' '.join(result.too_short)}")
    return 0


class Report:
    """Prints how far the decoding is and how long the rest takes, every five seconds.

    >>> report = Report(every=0)
    >>> report(10, 10, 3.0)
    """

    def __init__(self, every: float = 5.0):
        self.every, self.last = every, time.monotonic()

    def __call__(self, done: int, total: int, seconds: float) -> None:
        """`done` of `total` utterances took `seconds`."""
        if done < total and time.monotonic() - self.last >= self.every:
            self.last = time.monotonic()
            left = seconds / done * (total - done)
            print(f"decoded {done}/{total}, about {left:.0f} s left", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
