"""Neurons, training steps and inference on a CUDA device against the ANNs: the question "gpu"."""

from collections.abc import Callable

import torch
from torch import nn

from benchmarks import vocoder, voice
from benchmarks.measure import by_turns, table
from benchmarks.peers import FEATURES, FRAMES_PER_SECOND, SIZES, spiking, transformer
from imlspike.neurons import IMLS, LIF, PLIF
from imlspike.ops import reference

DEVICE = "cuda"


def finished(run: Callable) -> Callable:
    """`run`, and wait until the device is done."""

    def both():
        run()
        torch.cuda.synchronize()

    return both


def _row(name: list[str], ours: Callable, theirs: Callable, turns: int) -> list[str]:
    both = by_turns(finished(ours), finished(theirs), turns, warm_up=3)
    ours_ms, theirs_ms = (1e3 * sorted(seconds)[turns // 2] for seconds in (both.ours, both.theirs))
    low, high = both.spread
    return [*name, f"{ours_ms:.2f}", f"{theirs_ms:.2f}", f"{both.ratio:.2f} ({low:.2f}-{high:.2f})"]


def _neurons(turns: int) -> list[list[str]]:
    """Fused operators against their definition in plain torch, forward and backward."""
    rows = []
    for name, neuron, shape in (
        ("IMLS, fixed", IMLS(threshold="fixed", value=0.36), (64_000, 256)),
        ("LIF, 4 steps", LIF(), (4, 4_000_000)),
        ("PLIF, 4 steps", PLIF(), (4, 4_000_000)),
    ):
        neuron, x = neuron.to(DEVICE), torch.randn(shape, device=DEVICE, requires_grad=True)
        grad = torch.randn_like(x)

        def fused(neuron=neuron, x=x, grad=grad):
            neuron(x).backward(grad)

        def plain(neuron=neuron, x=x, grad=grad):
            with torch.no_grad():
                if neuron.stateful:
                    settings = (x, x[0] * 0, neuron.leak(x), 1.0, True, False, False, "sigmoid", 4.0)
                    reference.lif(*settings)
                    reference.lif_backward(grad, x[0] * 0, *settings)
                else:
                    theta = neuron.theta(x)
                    _, gate = reference.imls(x, theta, neuron.levels, True)
                    reference.imls_backward(grad, gate, theta, True)

        rows.append(_row([name], fused, plain, turns))
    return rows


def _step(encoder: nn.Module, half: bool) -> Callable:
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-4)
    xs = torch.randn(32, 1000, FEATURES, device=DEVICE)
    lengths = torch.linspace(1000, 800, 32, device=DEVICE).long()

    def step():
        optimizer.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=half):
            ys = encoder(xs, lengths)[0]
        ys.float().square().mean().backward()
        optimizer.step()

    return step


def _encoders(turns: int) -> list[list[str]]:
    rows = []
    for size in SIZES:
        for how, half, compiled in (("fp32", 0, 0), ("bf16", 1, 0), ("bf16, compiled", 1, 1)):
            ours, theirs = (peer(size, inference=False).to(DEVICE) for peer in (spiking, transformer))
            if compiled:
                ours.compile(dynamic=True), theirs.compile(dynamic=True)
            name = [f"encoder of {size}", f"training step, {how}"]
            rows.append(_row(name, _step(ours.train(), half), _step(theirs.train(), half), turns))
        ours, theirs = spiking(size).to(DEVICE), transformer(size).to(DEVICE)
        for seconds in (10, 60):
            xs = torch.randn(1, seconds * FRAMES_PER_SECOND, FEATURES, device=DEVICE)
            lengths = torch.tensor([xs.shape[1]], device=DEVICE)
            with torch.inference_mode():
                name = [f"encoder of {size}", f"inference of {seconds} s"]
                rows.append(_row(name, lambda: ours(xs), lambda: theirs(xs, lengths), turns))  # noqa: B023
    return rows


def _synthesis(turns: int) -> list[list[str]]:
    rows = []
    with torch.device(DEVICE):  # models and batches of these questions are made where the default device is
        for kind in ("plif", "imls"):
            peers = (vocoder.train_step(each, "paper") for each in (kind, "none"))
            rows.append(_row([f"vocoder, {kind}", "training step"], *peers, turns))
            peers = (vocoder.decode(each, "paper", 10) for each in (kind, "none"))
            rows.append(_row([f"vocoder, {kind}", "inference of 10 s"], *peers, turns))
        for kind in ("lif", "imls"):
            peers = (voice.train_step(each, "paper") for each in (kind, "none"))
            rows.append(_row([f"voice, {kind}", "training step"], *peers, turns))
    return rows


def question(threads: int, turns: int) -> str:
    """All of it on a CUDA device; without one, a line that says so."""
    if not torch.cuda.is_available():
        return "## On a GPU\n\nThere is no CUDA device here: nothing was measured."
    head = ["ours, ms", "peer, ms", "ratio (quartiles)"]
    return (
        f"## On a GPU\n\n{torch.cuda.get_device_name()}. Neurons, forward and backward: fused operators "
        "against their definition in plain torch.\n\n"
        + table(["neuron", *head], _neurons(turns))
        + "\n\nModels against their ANNs (ESPnet's Transformer, Vocos, FastSpeech 2): 32 utterances of 8 to "
        "10 s, 16 pieces of 16384 samples, 4 texts.\n\n"
        + table(["model", "what", *head], [*_encoders(turns), *_synthesis(turns)])
    )
