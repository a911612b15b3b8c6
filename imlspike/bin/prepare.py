"""Prepare a corpus as Kaldi data directories, checked.

imlspike prepare msu_ru_nsh --download-dir downloads --output-dir data
imlspike prepare librispeech --corpus-dir /corpora/LibriSpeech --parts train-clean-100 dev-clean
imlspike prepare lhotse --recordings r.jsonl.gz --supervisions s.jsonl.gz --set train
"""

import argparse
from functools import partial
from pathlib import Path

from imlspike.bin._command import command
from imlspike.bin._files import output_dir
from imlspike.data.asterisk import LANGUAGES, download_asterisk, prepare_asterisk
from imlspike.data.corpora import CORPORA
from imlspike.data.corpus import download, prepare, prepare_manifests
from imlspike.data.download import OPENSLR
from imlspike.data.progress import Progress

SETS = {name: corpus.makes for name, corpus in CORPORA.items()} | {
    "asterisk": "asterisk_en, asterisk_es, ...: telephone prompts without transcripts, for vocoders",
    "lhotse": "one set of the manifests of any corpus of lhotse's",
}


def parse(argv) -> argparse.Namespace:
    """The command line's options."""
    whole = argparse.ArgumentParser(prog="imlspike prepare", description=main.__doc__)
    corpora = whole.add_subparsers(dest="corpus", required=True, metavar="CORPUS")
    for name, sets in SETS.items():
        corpus = corpora.add_parser(name, help=f"writes {sets}")
        add = corpus.add_argument
        if name == "lhotse":
            add("--recordings", type=Path, required=True, dest="corpus_dir", help="lhotse's manifest")
            add("--supervisions", type=Path, required=True, help="lhotse's manifest")
            add("--set", default="train", help="name of the data directory (default: train)")
        else:
            source = corpus.add_mutually_exclusive_group(required=True)
            source.add_argument("--corpus-dir", type=Path, help="the corpus, unpacked, on this machine")
            source.add_argument("--download-dir", type=output_dir, help="fetch the corpus into this folder")
        add("--output-dir", type=output_dir, default="data")
        add("--max-left-out", type=float, default=0.05, help="share of utterances (default 0.05)")
        if name in ("aishell", "librispeech", "libritts", "aishell3", "speechocean762"):
            add("--base-url", default=OPENSLR, help="openslr.org's resources/, or a mirror's")
        if name == "aishell":
            told = "where speakers are unpacked (default: beside their archives)"
            add("--unpack-dir", type=output_dir, help=told)
        if name in CORPORA and CORPORA[name].parts:
            told = "which parts (default: all, or those that are there)"
            add("--parts", nargs="+", choices=CORPORA[name].parts, help=told)
        if name == "msu_ru_nsh":
            add("--as-written", action="store_true", help="keep punctuation and stress marks, for voices")
        if name == "asterisk":
            add("--languages", nargs="+", choices=LANGUAGES, default=LANGUAGES, help="default: all")
    return whole.parse_args(argv)


def functions(args: argparse.Namespace):
    """The corpus's download and preparation, with its own options filled in."""
    told = Progress("recordings read")
    if args.corpus == "lhotse":
        write = partial(prepare_manifests, supervisions=args.supervisions, name=args.set, progress=told)
        return None, write
    if args.corpus == "asterisk":
        fetch = partial(download_asterisk, languages=args.languages)
        return fetch, partial(prepare_asterisk, languages=args.languages, progress=told)
    own = {key: getattr(args, key) for key in ("parts", "unpack_dir", "as_written") if hasattr(args, key)}
    parts, base_url = getattr(args, "parts", None), getattr(args, "base_url", None)
    corpus = CORPORA[args.corpus]
    fetch = partial(download, args.corpus, corpus, parts=parts, base_url=base_url)
    return fetch, partial(prepare, args.corpus, corpus, progress=told, **own)


@command
def main(argv: list[str] | None = None) -> None:
    """Write a data directory for each set below --output-dir; print what is in them and what was left out."""
    args = parse(argv)
    fetch, write = functions(args)
    source = fetch(args.download_dir) if getattr(args, "download_dir", None) else args.corpus_dir
    result = write(source, output_dir=args.output_dir, max_left_out=args.max_left_out)
    width = max(8, *(len(name) + 2 for name in result))
    print(f"{'set':<{width}}{'utterances':>12}{'minutes':>10}{'characters':>12}{'left out':>10}")
    for name, (kept, excluded) in result.items():
        minutes = sum(u.seconds for u in kept) / 60
        characters = sum(len(u.text) for u in kept)
        print(f"{name:<{width}}{len(kept):>12}{minutes:>10.1f}{characters:>12}{len(excluded):>10}")
    if any(excluded for _, excluded in result.values()):
        print(f"What was left out, and why: {args.output_dir}/*/excluded.tsv")
