"""Write a data directory's audio as 16-bit FLAC (or WAV) at one sampling rate, checked, in parallel.

imlspike format data/train --output-dir dump/train --audio-format flac --nj 8
"""

import argparse
from pathlib import Path

from imlspike.bin._command import command
from imlspike.bin._files import output_dir
from imlspike.data.format import format_data_dir
from imlspike.data.progress import Progress


@command
def main(argv: list[str] | None = None) -> None:
    """Copy a data directory with its audio as 16-bit mono files at one sampling rate. Every sample is read;
    a broken file is named, counted, left out and listed in excluded.tsv. What an earlier run has written is
    kept."""
    parser = argparse.ArgumentParser(prog="imlspike format", description=main.__doc__)
    add = parser.add_argument
    add("data_dir", type=Path)
    add("--output-dir", type=output_dir, required=True)
    add("--audio-format", choices=("flac", "wav"), default="flac")
    add("--sampling-rate", type=int, default=16000, help="Hz (default 16000)")
    add("--audio-dir", type=output_dir, help="where the files go (default: audio/ in --output-dir)")
    add("--keep-fitting", action=argparse.BooleanOptionalAction, default=True, help="no copy of what fits")
    add("--max-left-out", type=float, default=0.05, help="share of utterances (default 0.05)")
    add("--nj", type=int, default=1, help="processes (default 1)")
    args = parser.parse_args(argv)
    kept, reasons = format_data_dir(**vars(args), progress=Progress("format"))
    for utterance, reason in sorted(reasons.items()):
        print(f"left out {utterance}: {reason}")
    hours = sum(u.seconds for u in kept) / 3600
    print(
        f"{args.output_dir}: {len(kept)} utterances, {hours:.2f} h, {args.audio_format} at "
        f"{args.sampling_rate} Hz, {len(reasons)} left out (listed in excluded.tsv)"
    )
