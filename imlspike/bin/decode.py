"""Transcribe a data directory with an ESPnet experiment, many utterances at once.

    imlspike decode --config exp/quick/config.yaml --data-dir data/test --output hyp/text
    imlspike decode --mode joint --decode-config conf/decode_joint.yaml ...

`--mode greedy` takes the best CTC token of every frame. `--mode joint` is ESPnet's beam search with CTC,
attention decoder and, with `--lm-config` and `--lm-file`, a language model. A JSON file beside the output
tells how long it took.
"""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from imlspike.bin._command import (
    add_device,
    add_weight_bits,
    command,
    folder_of,
    number,
    results,
)
from imlspike.bin._files import output_file
from imlspike.data.keys import MOST_SECONDS


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="imlspike decode", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--mode", choices=("greedy", "joint"), default="greedy", help="default %(default)s")
    add("--config", type=Path, required=True, help="config.yaml of the experiment")
    add("--model", type=Path, help="model file (default: the average of the first best_model_criterion)")
    add("--data-dir", type=Path, required=True, help="Kaldi directory; wav.scp and segments are read")
    add("--output", type=output_file, required=True, help="the table 'utterance transcript' to write")
    add("--decode-config", type=Path, help="YAML with beam_size, ctc_weight, ... as ESPnet's; for joint")
    add("--lm-config", type=Path, help="config.yaml of a language model; for joint")
    add("--lm-file", type=Path, help="its model file (default: as for --model)")
    add(
        "--batch-seconds",
        type=number(0.1, MOST_SECONDS),
        default=120.0,
        help="audio in a batch (default %(default)s)",
    )
    add("--convert", action="store_true", help="resample and mix down what doesn't match, don't refuse it")
    add_device(parser)
    add_weight_bits(parser)
    args = parser.parse_args(argv)
    for option in ("decode_config", "lm_config", "lm_file"):
        if args.mode == "greedy" and getattr(args, option):
            parser.error(f"--{option.replace('_', '-')} is for --mode joint")
    if args.lm_file and not args.lm_config:
        parser.error("--lm-file needs --lm-config, the language model's config.yaml")
    return args


def inside(config: Path | None, model: Path | None) -> str | None:
    """A model file as it's named from the folder of its config.yaml."""
    return config and model and os.path.relpath(model, config.parent)


@command
def main(argv: list[str] | None = None) -> None:
    """Write the Kaldi table of transcripts; print how many there are and how fast it went."""
    args = parse(argv)
    import torch

    from imlspike.data.files import atomic_write
    from imlspike.data.progress import Progress
    from imlspike.inference import Bundle
    from imlspike.inference.beam_search import read_options
    from imlspike.inference.decoding import decode_dir, open_decoder

    with results():  # what libraries print isn't ours
        model = folder_of(args.config), "recognizer", args.device, inside(args.config, args.model)
        bundle = Bundle.load(*model, weight_bits=args.weight_bits)
        options = {} if args.mode == "greedy" else asdict(read_options(args.decode_config))
        lm = args.lm_config and args.lm_config.parent
        decoder = open_decoder(bundle, args.mode, lm, inside(args.lm_config, args.lm_file), **options)
        where = (args.data_dir, args.output, decoder.sampling_rate)
        mismatch = "convert" if args.convert else "error"
        result = decode_dir(decoder, *where, args.batch_seconds, mismatch, Progress("decoded"))
    factor = result.seconds / result.audio_seconds if result.audio_seconds else 0.0
    times = {"utterances": len(result.texts), "too_short": result.too_short}
    times |= {"audio_seconds": round(result.audio_seconds, 3), "seconds": round(result.seconds, 3)}
    times |= {"real_time_factor": round(factor, 5), "mode": args.mode}
    times |= {"batch_seconds": args.batch_seconds, "device": args.device, "threads": torch.get_num_threads()}
    times["weight_bits"] = args.weight_bits
    with atomic_write(args.output.with_name(f"{args.output.name}.json")) as file:
        json.dump(times | options, file, indent=1, ensure_ascii=False)
    print(
        f"{args.output}: {len(result.texts)} utterances, {result.audio_seconds:.1f} s of audio in "
        f"{result.seconds:.1f} s, real-time factor {factor:.3f}"
    )
    if result.too_short:
        print(f"  {len(result.too_short)} too short, empty transcript: {' '.join(result.too_short)}")
