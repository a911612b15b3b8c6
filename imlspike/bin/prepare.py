"""Prepare a corpus as Kaldi data directories, checked.

python -m imlspike.bin.prepare msu_ru_nsh --download-dir downloads --output-dir data
python -m imlspike.bin.prepare librispeech --corpus-dir /corpora/LibriSpeech --parts train-clean-100 dev-clean
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from imlspike.data import librispeech, libritts
from imlspike.data.aishell import download_aishell, prepare_aishell
from imlspike.data.aishell3 import prepare_aishell3
from imlspike.data.asterisk import LANGUAGES, download_asterisk, prepare_asterisk
from imlspike.data.baker import prepare_baker
from imlspike.data.corpus import Prepared
from imlspike.data.debian import DownloadError
from imlspike.data.ljspeech import BASE_URL as LJSPEECH_URL
from imlspike.data.ljspeech import download_ljspeech, prepare_ljspeech
from imlspike.data.msu_ru_nsh import download_msu_ru_nsh, prepare_msu_ru_nsh
from imlspike.data.openslr import BASE_URL
from imlspike.data.progress import Progress

PARTED = {"librispeech": librispeech, "libritts": libritts}
NO_DOWNLOAD = ("baker", "aishell3")  # no checksum is published to hold a download against


def main(argv: list[str] | None = None) -> int:
    """Write a data directory for each set below --output-dir; print what is in them and what was left out."""
    args = _parser().parse_args(argv)
    download, prepare = _functions(args)
    try:
        corpus_dir = args.corpus_dir or download(args.download_dir)
        result = prepare(corpus_dir, args.output_dir, args.max_left_out, Progress("recordings read"))
    except (DownloadError, ImportError, ValueError, OSError) as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    _print_table(result)
    if any(excluded for _, excluded in result.values()):
        print(f"What was left out, and why: {args.output_dir}/*/excluded.tsv")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="imlspike prepare", description=main.__doc__)
    corpora = parser.add_subparsers(dest="corpus", required=True, metavar="CORPUS")
    for name, sets in {
        "msu_ru_nsh": "train, valid and test",
        "aishell": "train, dev and test",
        "librispeech": "train_960, dev, and one set for each part: train_clean_100, ..., test_other",
        "libritts": "train_960, and one set for each part: train_clean_100, ..., test_other",
        "ljspeech": "train, valid and test, for voices",
        "baker": "train, valid and test, for voices, with the corpus's pinyin",
        "aishell3": "train, valid and test, for voices, with the corpus's pinyin",
        "asterisk": "asterisk_en, asterisk_es, ...: telephone prompts without transcripts, for vocoders",
    }.items():
        corpus = corpora.add_parser(name, help=f"writes {sets}")
        source = corpus.add_mutually_exclusive_group(required=True)
        source.add_argument("--corpus-dir", type=Path, help="the corpus, unpacked, on this machine")
        if name not in NO_DOWNLOAD:
            source.add_argument("--download-dir", type=Path, help="fetch the corpus into this folder first")
        add = corpus.add_argument
        add("--output-dir", type=Path, default=Path("data"))
        add("--max-left-out", type=float, default=0.05, help="share of utterances (default 0.05)")
        if name in ("aishell", *PARTED):
            add("--base-url", default=BASE_URL, help="openslr.org's resources/, or a mirror's")
        if name == "ljspeech":
            add("--base-url", default=LJSPEECH_URL, help="the folder with the archive, or a mirror's")
        if name == "aishell":
            add(
                "--unpack-dir", type=Path, help="where speakers' archives are unpacked (default: beside them)"
            )
        if name in PARTED:
            choices, told = PARTED[name].PARTS, "which parts (default: all, or those that are there)"
            add("--parts", nargs="+", choices=choices, help=told)
        if name == "msu_ru_nsh":
            add("--as-written", action="store_true", help="keep punctuation and stress marks, for voices")
        if name == "asterisk":
            add("--languages", nargs="+", choices=LANGUAGES, default=LANGUAGES, help="default: all")
    return parser


def _functions(args: argparse.Namespace):
    """The corpus's two functions, with its own options filled in."""
    if args.corpus == "aishell":
        return (
            partial(download_aishell, base_url=args.base_url),
            partial(prepare_aishell, unpack_dir=args.unpack_dir),
        )
    if args.corpus in PARTED:
        module = PARTED[args.corpus]
        return (
            partial(getattr(module, f"download_{args.corpus}"), parts=args.parts, base_url=args.base_url),
            partial(getattr(module, f"prepare_{args.corpus}"), parts=args.parts),
        )
    if args.corpus == "asterisk":
        return (
            partial(download_asterisk, languages=args.languages),
            partial(prepare_asterisk, languages=args.languages),
        )
    if args.corpus == "ljspeech":
        return partial(download_ljspeech, base_url=args.base_url), prepare_ljspeech
    if args.corpus in NO_DOWNLOAD:
        return None, {"baker": prepare_baker, "aishell3": prepare_aishell3}[args.corpus]
    return download_msu_ru_nsh, partial(prepare_msu_ru_nsh, as_written=args.as_written)


def _print_table(result: Prepared) -> None:
    width = max(8, *(len(name) + 2 for name in result))
    print(f"{'set':<{width}}{'utterances':>12}{'minutes':>10}{'characters':>12}{'left out':>10}")
    for name, (kept, excluded) in result.items():
        minutes = sum(u.seconds for u in kept) / 60
        characters = sum(len(u.text) for u in kept)
        print(f"{name:<{width}}{len(kept):>12}{minutes:>10.1f}{characters:>12}{len(excluded):>10}")


if __name__ == "__main__":
    sys.exit(main())
