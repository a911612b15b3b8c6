"""Estimate of a training on GPUs, from what it takes here: operations, memory traffic and memory.

    python -m benchmarks.estimate librispeech egs/librispeech/asr1/conf/train_asr_iml_spikeformer.yaml

The model of the YAML is trained for a few steps on the CPU, on noise as long as the corpus's mean utterance.
Measured: floating-point operations (torch's counter) and bytes that all operations read and write, forward
and backward, for each second of audio; peak resident memory of batches of growing length, and the line
through it. Assumed: which share of a GPU's peak arithmetic and peak bandwidth a training sustains (`--share`,
`--bandwidth-share`), that arithmetic and traffic don't overlap, and that nothing else takes time.
"""

import argparse
import random
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import peak_mb, setting, table

RATE = 16000
SPEEDS = (0.9, 1.0, 1.1)


@dataclass
class Corpus:
    """Published figures of a training set: hours, utterances, and what a transcript has in tokens.

    >>> round(CORPORA["librispeech"].utterance_seconds, 1)
    12.3
    """

    hours: float
    utterances: int
    vocabulary: int
    tokens_per_second: float

    @property
    def utterance_seconds(self) -> float:
        """Mean length of an utterance."""
        return 3600 * self.hours / self.utterances


CORPORA = {
    "librispeech": Corpus(960.9, 281_241, 5000, 3.3),
    "aishell": Corpus(150.9, 120_098, 4233, 3.2),
}


@dataclass
class GPU:
    """Peaks from the data sheet: 10^12 operations a second without sparsity, and 10^12 bytes a second."""

    name: str
    fp32: float
    bf16: float
    bandwidth: float


GPUS = (
    GPU("V100 SXM2", 15.7, 125, 0.9),
    GPU("A100 SXM 80 GB", 19.5, 312, 2.039),
    GPU("H100 SXM", 66.9, 989, 3.35),
)


class Traffic(TorchDispatchMode):
    """Context manager: `bytes` that the operations inside read and write, as if there were no cache.

    >>> with Traffic() as traffic:
    ...     _ = torch.zeros(10) + torch.ones(10)
    >>> traffic.bytes  # two tensors filled, then two read and one written
    200
    """

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [x for x in tree_iter((args, kwargs, output)) if isinstance(x, torch.Tensor)]
            self.bytes += sum(x.numel() * x.element_size() for x in tensors)
        return output


def build(config: dict, vocabulary: int) -> torch.nn.Module:
    """The recognizer of a resolved training YAML as ESPnet's trainer builds it, with so many tokens."""
    from imlspike.espnet import register

    register()
    from espnet2.tasks.asr import ASRTask

    tokens = ["<blank>", "<unk>", *(f"t{i}" for i in range(vocabulary - 3)), "<sos/eos>"]
    args = ASRTask.get_default_config() | config | {"token_list": tokens}
    return ASRTask.build_model(argparse.Namespace(**args)).train()


def batch_of(utterances: int, seconds: float, tokens: int, vocabulary: int) -> dict[str, torch.Tensor]:
    """A batch for ESPnet's model: noise and random transcripts, all of the same length."""
    samples = round(seconds * RATE)
    return dict(
        speech=torch.randn(utterances, samples),
        speech_lengths=torch.full((utterances,), samples),
        text=torch.randint(2, vocabulary - 1, (utterances, tokens)),
        text_lengths=torch.full((utterances,), tokens),
    )


def count(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[int, int, int]:
    """(operations forward, operations backward, bytes read and written) of one step without the optimizer.

    A multiply-accumulate is two operations; what isn't a matrix product or a convolution has none.
    """
    with Traffic() as traffic:
        with FlopCounterMode(display=False) as forward:
            loss = model(**batch)[0]
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    model.zero_grad()
    return forward.get_total_flops(), backward.get_total_flops(), traffic.bytes


def peaks(model: torch.nn.Module, batches: list[dict[str, torch.Tensor]]) -> list[float]:
    """Peak resident memory in MB after a training step on each batch, which must grow."""
    optimizer, seen = torch.optim.Adam(model.parameters()), []
    for batch in batches:
        model(**batch)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append(peak_mb())
    return seen


@dataclass
class Cost:
    """Cost of a training: operations for each second of audio; bytes of traffic and of memory as lines
    (whatever the batch, for each of its seconds of audio)."""

    operations: float
    traffic: tuple[float, float]
    memory: tuple[float, float]

    def hours(self, seconds: float, batch: float, gpu: GPU, dtype: str, shares: tuple[float, float]):
        """Hours of arithmetic and of memory traffic on one GPU for `seconds` of audio in batches of `batch`.

        >>> cost = Cost(operations=1e12, traffic=(1e13, 1e12), memory=(0, 0))
        >>> cost.hours(3600, 10, GPU("none", fp32=1, bf16=10, bandwidth=1), "bf16", shares=(0.1, 0.5))
        (1.0, 4.0)
        """
        arithmetic = seconds * self.operations / (getattr(gpu, dtype) * 1e12 * shares[0])
        traffic = (self.traffic[0] / batch + self.traffic[1]) * seconds / (gpu.bandwidth * 1e12 * shares[1])
        return arithmetic / 3600, traffic / 3600


def line(x: list[float], y: list[float]) -> tuple[float, float]:
    """Intercept and slope of the least-squares line.

    >>> [round(number, 6) for number in line([1, 2, 3], [12, 14, 16])]
    [10.0, 2.0]
    """
    slope, intercept = np.polyfit(x, y, 1)
    return float(intercept), float(slope)


def measure(
    model: torch.nn.Module, corpus: Corpus, utterances: list[int], seconds: float
) -> tuple[Cost, str]:
    """Runs the steps; returns what they cost and a table of it."""
    start, tokens = time.perf_counter(), round(seconds * corpus.tokens_per_second)
    batches = [batch_of(n, seconds, tokens, corpus.vocabulary) for n in utterances]
    audio = [n * seconds for n in utterances]
    memory = peaks(model, batches)
    counted = [count(model, batches[i]) for i in (0, -1)]
    forward, backward = counted[-1][0] / audio[-1], counted[-1][1] / audio[-1]
    moved = line([audio[0], audio[-1]], [each[2] for each in counted])
    cost = Cost(forward + backward, moved, line(audio, [1e6 * mb for mb in memory]))
    rows = [
        ["10^9 operations forward, a second of audio", f"{forward / 1e9:.2f}"],
        ["10^9 operations backward, a second of audio", f"{backward / 1e9:.2f}"],
        ["GB read and written, whatever the batch", f"{moved[0] / 1e9:.2f}"],
        ["GB read and written, a second of audio", f"{moved[1] / 1e9:.3f}"],
        *([f"peak MB with {s:.0f} s of audio", f"{mb:.0f}"] for s, mb in zip(audio, memory, strict=True)),
        ["their line: MB whatever the batch", f"{cost.memory[0] / 1e6:.0f}"],
        ["their line: MB a second of audio", f"{cost.memory[1] / 1e6:.1f}"],
        ["their line: kB a frame of 10 ms", f"{cost.memory[1] / 1e5:.0f}"],
        ["seconds that measuring took", f"{time.perf_counter() - start:.0f}"],
    ]
    return cost, table(["measured", ""], rows)


def estimate(cost: Cost, parameters: int, corpus: Corpus, config: dict, shares: tuple[float, float]) -> str:
    """Report for the YAML's batches and epochs: updates, memory, hours by GPU and precision."""
    epoch = 3600 * corpus.hours * sum(1 / speed for speed in SPEEDS)
    batch = config["batch_bins"] / (RATE + corpus.tokens_per_second * corpus.vocabulary)
    weights = 16 * parameters  # gradients and Adam's two moments included
    epochs, rows = config["max_epoch"], []
    facts = [
        ["hours of audio an epoch, three speeds", f"{epoch / 3600:.0f}"],
        ["seconds of audio a batch", f"{batch:.0f}"],
        ["updates an epoch", f"{epoch / batch / config.get('accum_grad', 1):.0f}"],
        ["GB of weights, gradients and Adam's moments in fp32", f"{weights / 1e9:.2f}"],
        *(
            [f"GB a GPU, a batch on {n}", f"{(weights + cost.memory[1] * batch / n) / 1e9:.1f}"]
            for n in (1, 2, 4, 8)
        ),
    ]
    for gpu in GPUS:
        for dtype in ("fp32", "bf16"):
            both = cost.hours(epoch, batch, gpu, dtype, shares)
            hours = (*both, sum(both))
            rows.append([gpu.name, dtype, *(f"{h:.2f}" for h in hours), f"{epochs * hours[-1]:.0f}"])
    header = "GPU, matrix products in, arithmetic h/epoch, traffic h/epoch, sum".split(", ")
    arithmetic, bandwidth = (f"{100 * share:g} %" for share in shares)
    assumed = (
        f"GPU hours, if a GPU sustains {arithmetic} of its peak arithmetic and {bandwidth} of its peak "
        "bandwidth (assumed):"
    )
    hours = table([*header, f"h, {epochs} epochs"], rows)
    return f"{table(['follows', ''], facts)}\n\n{assumed}\n\n{hours}"


def main(argv=None) -> None:
    """Measures, then prints what was measured and what follows from it under the stated assumptions."""
    summary = __doc__.partition("\n\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimate", description=summary)
    add = parser.add_argument
    add("corpus", choices=CORPORA)
    add("config", help="training YAML")
    add("--override", action="append", default=[], metavar="YAML", help="what differs from it")
    add("--share", type=float, default=0.4, help="of a GPU's peak arithmetic (default %(default)s)")
    add("--bandwidth-share", type=float, default=0.6, help="of its peak bandwidth (default %(default)s)")
    add("--utterances", type=int, nargs="+", default=[1, 2, 3, 4], help="in the growing batches")
    add("--seconds", type=float, help="of an utterance (default: the corpus's mean)")
    add("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    if len(args.utterances) < 2 or args.utterances != sorted(set(args.utterances)):
        parser.error("--utterances needs two growing numbers or more: a line is put through their peaks")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    from imlspike.espnet.config import resolve

    corpus, config = CORPORA[args.corpus], resolve(args.config, args.override)
    seconds = args.seconds or corpus.utterance_seconds
    model = build(config, corpus.vocabulary)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"# {' + '.join([args.config, *args.override])}\n\n{setting()}\n")
    print(f"{parameters / 1e6:.1f} M parameters in training, utterances of {seconds:.1f} s.\n")
    cost, measured = measure(model, corpus, args.utterances, seconds)
    print(f"{measured}\n", flush=True)
    print(estimate(cost, parameters, corpus, config, (args.share, args.bandwidth_share)))


if __name__ == "__main__":
    main()
