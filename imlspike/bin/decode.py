"""Transcribe a data directory with an ESPnet experiment, many utterances at once.

    python -m imlspike.bin.decode --config exp/quick/config.yaml --data-dir data/test --output hyp/text
    python -m imlspike.bin.decode --mode joint --decode-config conf/decode_joint.yaml ...

`--mode greedy` takes the best CTC token of every frame. `--mode joint` is ESPnet's beam search with CTC,
attention decoder and, with `--lm-config` and `--lm-file`, a language model. A JSON file beside the output
tells how long it took.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from imlspike.bin._files import add_device, positive


def main(argv: list[str] | None = None) -> int:
    """Write the Kaldi table of transcripts; print how many there are and how fast it went."""
    args = parse(argv)
    from imlspike.inference.decoding import decode_dir

    try:
        decoder, settings = make_decoder(args)
        mismatch = "convert" if args.convert else "error"
        result = decode_dir(
            decoder, args.data_dir, args.output, decoder.sampling_rate, args.batch_seconds, mismatch, Report()
        )
        write_times(args.output.with_name(f"{args.output.name}.json"), result, settings)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"decode: {error}", file=sys.stderr)
        return 1
    print(
        f"{args.output}: {len(result.texts)} utterances, {result.audio_seconds:.1f} s of audio in "
        f"{result.seconds:.1f} s, real-time factor {result.real_time_factor:.3f}"
    )
    if result.too_short:
        print(f"  {len(result.too_short)} too short, empty transcript: {' '.join(result.too_short)}")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="imlspike decode", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--mode", choices=("greedy", "joint"), default="greedy", help="default %(default)s")
    add("--config", type=Path, required=True, help="config.yaml of the experiment")
    add("--model", type=Path, help="model file (default: the average of the first best_model_criterion)")
    add("--data-dir", type=Path, required=True, help="Kaldi directory; only wav.scp is read")
    add("--output", type=Path, required=True, help="the table 'utterance transcript' to write")
    add("--decode-config", type=Path, help="YAML with beam_size, ctc_weight, ... as ESPnet's; for joint")
    add("--lm-config", type=Path, help="config.yaml of a language model; for joint")
    add("--lm-file", type=Path, help="its model file (default: as for --model)")
    add("--batch-seconds", type=positive, default=120.0, help="audio in a batch (default %(default)s)")
    add("--convert", action="store_true", help="resample and mix down what doesn't match, don't refuse it")
    add_device(parser)
    args = parser.parse_args(argv)
    if args.mode == "greedy":
        for option in ("decode_config", "lm_config", "lm_file"):
            if getattr(args, option):
                parser.error(f"--{option.replace('_', '-')} is for --mode joint")
    if args.lm_file and not args.lm_config:
        parser.error("--lm-file needs --lm-config, the language model's config.yaml")
    return args


def make_decoder(args: argparse.Namespace):
    """The decoder that the options ask for, and its settings for the record."""
    import torch

    from imlspike.inference import Bundle
    from imlspike.inference.beam_search import read_options
    from imlspike.inference.decoding import open_decoder

    bundle = Bundle.load(args.config.parent, "recognizer", args.device, _inside(args.config, args.model))
    settings = {"mode": args.mode, "batch_seconds": args.batch_seconds}
    settings |= {"device": args.device, "threads": torch.get_num_threads()}
    if args.mode == "greedy":
        return open_decoder(bundle), settings
    options = asdict(read_options(args.decode_config))
    lm = args.lm_config and args.lm_config.parent, _inside(args.lm_config, args.lm_file)
    return open_decoder(bundle, "joint", *lm, **options), settings | options


def _inside(config: Path | None, model: Path | None) -> str | None:
    """A model file as it's named from the folder of its config.yaml."""
    return config and model and os.path.relpath(model, config.parent)


def write_times(path: Path, result, settings: dict) -> None:
    """Write what a decoding took as JSON, whole or not at all.

    >>> import tempfile
    >>> from imlspike.inference.decoding import Decoded
    >>> path = Path(tempfile.mkdtemp()) / "text.json"
    >>> write_times(path, Decoded({"a": "so"}, [], 8.0, 2.0), {"mode": "greedy"})
    >>> json.loads(path.read_text())["real_time_factor"]
    0.25
    """
    from imlspike.data.files import atomic_write

    times = {"utterances": len(result.texts), "too_short": result.too_short}
    times |= {"audio_seconds": round(result.audio_seconds, 3), "seconds": round(result.seconds, 3)}
    times["real_time_factor"] = round(result.real_time_factor, 5)
    with atomic_write(path) as file:
        json.dump(times | settings, file, indent=1, ensure_ascii=False)


class Report:
    """Prints how far the decoding is and how long the rest takes, every five seconds.

    >>> report = Report(every=0)
    >>> report(10.0, 10.0, 3.0)
    """

    def __init__(self, every: float = 5.0):
        self.every, self.last = every, time.monotonic()

    def __call__(self, done: float, total: float, seconds: float) -> None:
        """`done` of `total` seconds of audio took `seconds`."""
        if done < total and time.monotonic() - self.last >= self.every:
            self.last = time.monotonic()
            left = seconds / done * (total - done)
            print(
                f"decoded {done:.0f} of {total:.0f} s of audio, about {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
