"""Cuts a validation and a test set out of a prepared set, some utterances of each speaker.

Of each speaker's utterances, in the order of their names, every n-th is test, each half-way between two of
these valid; a speaker with few of them is in train alone. What was left out of the set before stays listed
with train.
"""

import argparse
import sys
from collections import Counter

from imlspike.data.kaldi import read_data_dir, read_excluded, write_data_dir


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir")
    parser.add_argument("--every", type=int, required=True, metavar="n")
    for name in ("train", "valid", "test"):
        parser.add_argument(f"--{name}", required=True, help="the directory to write")
    args = parser.parse_args()
    sets = {args.train: [], args.valid: [], args.test: []}
    seen = Counter()
    for utterance in read_data_dir(args.data_dir):
        seen[utterance.speaker] += 1
        place = seen[utterance.speaker] % args.every
        sets[{0: args.test, args.every // 2: args.valid}.get(place, args.train)].append(utterance)
    for folder, utterances in sets.items():
        if not utterances:
            sys.exit(f"{args.data_dir}: nothing is left for {folder}; --every {args.every} is too much")
        write_data_dir(folder, utterances, read_excluded(args.data_dir) if folder == args.train else {})
        hours = sum(utterance.seconds for utterance in utterances) / 3600
        print(f"{folder}: {len(utterances)} utterances, {hours:.2f} hours")


main()
