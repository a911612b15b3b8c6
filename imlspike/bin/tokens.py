"""Make a token list and check that it covers every transcript.

imlspike tokens --train data/train --check data/valid data/test --output-dir data/tokens
"""

import argparse
from pathlib import Path

from imlspike.bin._command import command
from imlspike.bin._files import output_dir
from imlspike.data.files import atomic_write
from imlspike.data.kaldi import read_data_dir, read_excluded, write_data_dir
from imlspike.text.tokens import load_tokenizer, read_tokens, uncovered, write_bpe_tokens, write_char_tokens


def parse(argv) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="imlspike tokens", description=main.__doc__)
    add = parser.add_argument
    add("--train", type=Path, required=True, help="data directory whose text makes the list")
    add("--check", type=Path, nargs="*", default=[], help="directories the list must cover")
    add("--output-dir", type=output_dir, required=True)
    add("--type", choices=("char", "bpe"), default="char")
    add("--nbpe", type=int, default=300, help="size of the bpe vocabulary (default 300)")
    add(
        "--on-unknown",
        choices=("error", "exclude", "keep"),
        default="error",
        help="what to do with an utterance the list doesn't cover: stop, move it to its excluded.tsv, or "
        "keep it in a directory of --check, where what can't be recognised counts as errors (they are listed "
        "in unknown.tsv in --output-dir)",
    )
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    """Write tokens.txt (and bpe.model) from the text of --train and check that it covers every transcript."""
    args = parse(argv)
    texts = [u.text for u in read_data_dir(args.train)]
    if not "".join(texts).strip():
        raise ValueError(f"{args.train}: {len(texts)} utterances without text; tokens are made of text")
    if args.type == "bpe":
        path, model = write_bpe_tokens(texts, args.output_dir, args.nbpe), args.output_dir / "bpe.model"
    else:
        path, model = write_char_tokens(texts, args.output_dir), None
    tokens, tokenize = read_tokens(path), load_tokenizer(model)
    unknown: dict[str, str] = {}
    print(f"{path}: {len(tokens)} tokens ({args.type})")
    for data_dir in [args.train, *args.check]:
        utterances = read_data_dir(data_dir)
        reasons = uncovered({u.id: u.text for u in utterances}, tokens, tokenize)
        if reasons and (args.on_unknown == "error" or (args.on_unknown == "keep" and data_dir == args.train)):
            utt, reason = next(iter(reasons.items()))
            raise ValueError(
                f"{data_dir}: {utt}: {reason} ({len(reasons)} such utterance(s)); "
                "correct the text, add it to --train, leave them out with --on-unknown exclude, or count "
                "them as errors with --on-unknown keep"
            )
        if args.on_unknown == "keep":
            unknown |= {f"{data_dir}/{utterance}": reason for utterance, reason in reasons.items()}
            print(f"{data_dir}: {len(utterances)} utterances, {len(reasons)} not wholly covered, kept")
            continue
        if reasons:
            kept = [u for u in utterances if u.id not in reasons]
            write_data_dir(data_dir, kept, read_excluded(data_dir) | reasons)
        print(f"{data_dir}: {len(utterances) - len(reasons)} utterances covered, {len(reasons)} left out")
    if args.on_unknown == "keep":
        with atomic_write(args.output_dir / "unknown.tsv") as out:
            out.writelines(f"{utterance}\t{reason}\n" for utterance, reason in unknown.items())
