"""Speed and memory against peers, with their targets: `python -m benchmarks`, or `./run.sh bench`.

`python -m benchmarks decoding --exp-dir E --data-dir D` measures how a trained recognizer is decoded,
`python -m benchmarks versions CHECKOUT` this checkout's speed against another one's,
`python -m benchmarks exported` encoders in PyTorch and in onnxruntime,
`python -m benchmarks robustness --model M --data-dir D` errors against level, silence, noise, rate and codec,
`python -m benchmarks streaming --model M --data-dir D --labels L` errors against latency on streams,
`python -m benchmarks word_times --model M --valid-dir V --data-dir D --labels L` times of words, confidences,
`python -m benchmarks readme` writes the READMEs' tables from committed results.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from benchmarks import decoding, exported, readme, robustness, streaming, versions, word_times
from benchmarks.measure import setting
from benchmarks.questions import QUESTIONS
from imlspike.data.files import atomic_write

MODULES = (decoding, exported, readme, robustness, streaming, versions, word_times)


def main(argv=None) -> None:
    """Answers the questions one by one and prints each table when it is there."""
    argv = sys.argv[1:] if argv is None else argv
    for module in MODULES:
        if argv[:1] == [module.__name__.rpartition(".")[2]]:
            return module.main(argv[1:])
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=QUESTIONS, action="append", help="one question; may be repeated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=9, help="repetitions of each peer")
    parser.add_argument("--output", type=Path, help="also write the report to this file")
    args = parser.parse_args(argv)
    if min(args.threads, args.turns) < 1:
        parser.error("--threads and --turns must be at least 1")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    sections = [f"# Benchmarks\n\n{setting()}"]
    print(sections[0], flush=True)
    names = args.only or list(QUESTIONS)
    for number, name in enumerate(names, 1):
        start = time.perf_counter()
        print(f"{number} of {len(names)}: {name} ...", file=sys.stderr, flush=True)
        sections.append(QUESTIONS[name](args.threads, args.turns))
        print(f"\n{sections[-1]}", flush=True)
        print(f"{name} took {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    if args.output:
        with atomic_write(args.output) as file:
            file.write("\n\n".join(sections) + "\n")


if __name__ == "__main__":
    main()
