"""This checkout against another one: `python -m benchmarks versions OTHER_CHECKOUT`.

Both run the cases below in processes of their own, by turns, with the settings of the memory allocator that
the recipes give to a training; a ratio is the median of the turns' ratios. With one thread it is processor
time that counts, which other work on the machine disturbs less. The other checkout needs its own compiled
operators in place, and this environment's packages.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from benchmarks.measure import ROOT, setting, table


def neurons() -> dict[str, Callable]:
    """A million elements and 4 steps of LIF; two million of IMLS."""
    from imlspike.neurons import IMLS, LIF

    cases = {}
    for name, neuron, shape in (
        ("IMLS, fixed threshold", IMLS(threshold="fixed", value=0.36, amplitude="unit"), (8000, 250)),
        ("IMLS, token threshold", IMLS(), (8000, 250)),
        ("LIF, 4 steps", LIF(), (4, 1 << 20)),
    ):
        x, grad = torch.randn(shape), torch.randn(shape)
        leaf = x.clone().requires_grad_()
        cases[f"{name}, forward"] = torch.no_grad()(lambda neuron=neuron, x=x: neuron(x))

        def both(neuron=neuron, leaf=leaf, grad=grad):
            neuron(leaf).backward(grad)

        cases[f"{name}, forward and backward"] = both
    return cases


def encoder() -> dict[str, Callable]:
    """The recognizer's encoder: inference of 10 and 60 s, folded; a training step of 8 utterances, padded."""
    from imlspike.models import IMLSpikeformerEncoder

    cases = {}
    for size, width, units, blocks in (("quick", 128, 512, 6), ("aishell", 256, 2048, 12)):
        sizes = dict(
            output_size=width, linear_units=units, num_blocks=blocks, input_channels=64, conv_kernel=15
        )
        folded = IMLSpikeformerEncoder(80, **sizes).reparameterize()
        for seconds in (10, 60):
            xs, lengths = torch.randn(1, 100 * seconds, 80), torch.tensor([100 * seconds])
            run = torch.inference_mode()(lambda xs=xs, lengths=lengths, folded=folded: folded(xs, lengths))
            cases[f"encoder of {size}, inference of {seconds} s"] = run
        if size == "quick":
            trained = IMLSpikeformerEncoder(80, **sizes)
            optimizer = torch.optim.AdamW(trained.parameters())
            xs, lengths = torch.randn(8, 1000, 80), torch.linspace(1000, 800, 8).long()

            def step(trained=trained, optimizer=optimizer, xs=xs, lengths=lengths):
                optimizer.zero_grad()
                trained(xs, lengths)[0].square().mean().backward()
                optimizer.step()

            cases["encoder of quick, training step"] = step
    return cases


def synthesis() -> dict[str, Callable]:
    """The small vocoder: training step and inference; the small voice: training step."""
    from benchmarks import vocoder, voice

    cases = {}
    for kind in ("plif", "tsm", "imls"):
        cases[f"vocoder {kind}, training step"] = vocoder.train_step(kind, "small")
        cases[f"vocoder {kind}, inference of 10 s"] = vocoder.decode(kind, "small", 10)
    for kind in ("lif", "sequential", "imls"):
        cases[f"voice {kind}, training step"] = voice.train_step(kind, "small")
    return cases


GROUPS = {"neurons": neurons, "encoder": encoder, "synthesis": synthesis}


def run_cases(group: str, repeats: int) -> dict[str, float]:
    """Median seconds of each case of a group."""
    torch.manual_seed(0)
    found = {}
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for name, run in GROUPS[group]().items():
        run()
        seconds = []
        for _ in range(repeats):
            start = clock()
            run()
            seconds.append(clock() - start)
        found[name] = median(seconds)
    return found


def in_checkout(checkout: Path, group: str, repeats: int, threads: int) -> dict[str, float]:
    """`run_cases` of this file with another checkout's package and benchmarks.

    Raises:
        RuntimeError: it failed; the end of what it said is in the message.
    """
    from imlspike.recipes.options import Options  # here only: another checkout may have none

    command = [sys.executable, str(Path(__file__).resolve()), "--run", group, str(repeats), str(threads)]
    environment = os.environ | Options(threads=threads).environment | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{checkout}, {group}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(argv=None) -> None:
    """Print one table of all cases."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks versions", description=__doc__)
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("--only", choices=GROUPS, action="append", help="one group; may be repeated")
    parser.add_argument("--turns", type=int, default=5, help="processes of each checkout")
    parser.add_argument("--repeats", type=int, default=7, help="of a case in a process")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    rows = []
    for group in args.only or GROUPS:
        here, there = [], []
        for turn in range(args.turns):
            print(f"{group}: turn {turn + 1} of {args.turns}", file=sys.stderr, flush=True)
            order = [(here, ROOT), (there, args.other.resolve())]
            for found, checkout in order if turn % 2 == 0 else reversed(order):
                found.append(in_checkout(checkout, group, args.repeats, args.threads))
        for case in here[0]:
            ratios = sorted(a[case] / b[case] for a, b in zip(here, there, strict=True))
            ours, theirs = (1e3 * median(found[case] for found in side) for side in (here, there))
            spread = f"{median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
            rows.append([case, f"{ours:.1f}", f"{theirs:.1f}", spread])
    git = ["git", "-C", str(args.other), "describe", "--always", "--dirty"]
    other = subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"
    print(f"{setting()}; against git {other}; {args.turns} turns of {args.repeats} repetitions\n")
    print(table(["", "now, ms", "before, ms", "ratio (least-largest)"], rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        torch.set_num_threads(int(sys.argv[4]))
        sys.path.insert(0, os.getcwd())  # the other checkout's benchmarks
        print(json.dumps(run_cases(sys.argv[2], int(sys.argv[3]))))
    else:
        main()
