"""Peak memory of one job, in a process of its own: `python -m benchmarks.memory JOB PEER SIZE ...`."""

import argparse
import json
import time

import torch

from benchmarks import vocoder
from benchmarks.measure import peak_mb
from benchmarks.peers import PEERS, speech, train_step


def main(argv=None) -> None:
    """Prints one line of JSON: peak resident memory before and after, in MB, and the seconds it took."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("job", choices=("hour", "train", "vocoder"))
    parser.add_argument("peer", choices=(*PEERS, *vocoder.KINDS))
    parser.add_argument("size")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=360_000, help="of the recording of the job hour")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.job == "hour":
        encoder = PEERS[args.peer](args.size)
        xs, lengths = speech(1, args.frames)

        def run():
            with torch.inference_mode():
                encoder(xs, lengths)

    else:
        if args.job == "vocoder":
            step = vocoder.train_step(args.peer, args.size)
        else:
            step = train_step(PEERS[args.peer](args.size, inference=False))

        def run():
            for _ in range(3):
                step()

    before, start = peak_mb(), time.perf_counter()
    run()
    print(json.dumps({"before_mb": before, "peak_mb": peak_mb(), "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
