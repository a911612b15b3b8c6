"""Prepare a corpus as Kaldi data directories, checked.

    python -m imlspike.bin.prepare msu_ru_nsh --download-dir downloads --output-dir data
"""

import argparse
import sys
from pathlib import Path

from imlspike.data.debian import DownloadError
from imlspike.data.msu_ru_nsh import download_msu_ru_nsh, prepare_msu_ru_nsh

CORPORA = {"msu_ru_nsh": (download_msu_ru_nsh, prepare_msu_ru_nsh)}


def main(argv: list[str] | None = None) -> int:
    """Write `train`, `valid` and `test` below --output-dir; print what is in them and what was left out."""
    parser = argparse.ArgumentParser(prog="imlspike prepare", description=main.__doc__)
    parser.add_argument("corpus", choices=sorted(CORPORA))
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--corpus-dir", type=Path, help="the corpus, unpacked, on this machine")
    source.add_argument("--download-dir", type=Path, help="fetch the corpus into this folder first")
    parser.add_argument("--output-dir", type=Path, default=Path("data"))
    parser.add_argument("--max-left-out", type=float, default=0.05, help="share of sentences (default 0.05)")
    args = parser.parse_args(argv)
    download, prepare = CORPORA[args.corpus]
    try:
        corpus_dir = args.corpus_dir or download(args.download_dir)
        result = prepare(corpus_dir, args.output_dir, args.max_left_out, _progress)
    except (DownloadError, ValueError, OSError) as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    print(f"{'split':<8}{'utterances':>12}{'minutes':>10}{'characters':>12}{'left out':>10}")
    for split, (kept, excluded) in result.items():
        minutes = sum(u.seconds for u in kept) / 60
        characters = sum(len(u.text) for u in kept)
        print(f"{split:<8}{len(kept):>12}{minutes:>10.1f}{characters:>12}{len(excluded):>10}")
    if any(excluded for _, excluded in result.values()):
        print(f"What was left out, and why: {args.output_dir}/*/excluded.tsv")
    return 0


def _progress(done: int, total: int) -> None:
    if done == total or done % 100 == 0:
        print(f"read {done}/{total} recordings", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
