"""The questions: each function measures and returns a section of the report in Markdown."""

import torch

from benchmarks.gpu import question as gpu
from benchmarks.measure import Comparison, by_turns, in_own_process, table, verdict
from benchmarks.operators import question as operators
from benchmarks.peers import FRAMES_PER_SECOND, SIZES, speech, spiking, train_step, transformer
from benchmarks.vocoder import question as vocoder
from benchmarks.voice import question as voice
from imlspike.layers.decay import CHUNKED_FROM, decay_attention, hierarchical_decay
from imlspike.neurons import IMLS, LIF, PLIF

HOUR = 360_000


def _times(both: Comparison) -> list[str]:
    ours, theirs = (1e3 * sorted(seconds)[len(seconds) // 2] for seconds in (both.ours, both.theirs))
    low, high = both.spread
    return [f"{ours:.1f}", f"{theirs:.1f}", f"{both.ratio:.2f} ({low:.2f}-{high:.2f})"]


def inference(threads: int, turns: int) -> str:
    """Seconds of audio through both encoders; targets: no slower at 10 s, twice as fast at 120 s."""
    rows = []
    for size in SIZES:
        ours, theirs = spiking(size), transformer(size)
        for seconds in (1, 10, 30, 120):
            batch = speech(1, seconds * FRAMES_PER_SECOND)
            with torch.inference_mode():
                both = by_turns(lambda: ours(*batch), lambda: theirs(*batch), turns)  # noqa: B023
            limit = {10: 1.0, 120: 0.5}.get(seconds)
            target = f"<= {limit}" if limit else ""
            met = None if limit is None else both.ratio <= limit
            rows.append([size, f"{seconds} s", *_times(both), target, verdict(met)])
    header = ["size", "audio", "spiking, ms", "Transformer, ms", "ratio (quartiles)", "target", ""]
    return (
        "## Encoder inference\n\nReparameterised spiking encoder and ESPnet's Transformer encoder, batch 1, "
        f"{turns} turns each.\n\n" + table(header, rows)
    )


def hour(threads: int, turns: int) -> str:
    """An hour of audio in one piece; target: the process stays under 6 GB."""
    rows = []
    for size in SIZES:
        seen = in_own_process("hour", "spiking", size, "--threads", str(threads), "--frames", str(HOUR))
        peak = seen["peak_mb"] / 1e3
        before = f"{seen['before_mb'] / 1e3:.2f}"
        rows.append([size, before, f"{peak:.2f}", f"{seen['seconds']:.0f}", "< 6 GB", verdict(peak < 6)])
    header = ["size", "before, GB", "peak, GB", "seconds", "target", ""]
    return (
        f"## An hour of audio\n\n{HOUR:,} frames in one piece through the reparameterised spiking encoder; "
        "peak resident memory of the whole process, each in its own.\n\n" + table(header, rows)
    )


def train(threads: int, turns: int) -> str:
    """A training step of both encoders on 80 s of audio; targets: at most 1.5 times the time and memory."""
    rows = []
    for size in SIZES:
        steps = (train_step(peer(size, inference=False)) for peer in (spiking, transformer))
        both = by_turns(*steps, turns)
        rows.append([size, "time, ms", *_times(both), "<= 1.5", verdict(both.ratio <= 1.5)])
        ours, theirs = (
            in_own_process("train", peer, size, "--threads", str(threads))["peak_mb"]
            for peer in ("spiking", "transformer")
        )
        memory = [f"{ours:.0f}", f"{theirs:.0f}", f"{ours / theirs:.2f}"]
        rows.append([size, "memory, MB", *memory, "<= 1.5", verdict(ours / theirs <= 1.5)])
    header = ["size", "", "spiking", "Transformer", "ratio (quartiles)", "target", ""]
    return (
        f"## A training step of the encoder\n\n8 utterances of 1,000 frames: forward, backward, AdamW; "
        f"{turns} turns each. Memory: peak of the whole process after three steps, each peer in its own.\n\n"
        + table(header, rows)
    )


def attention(threads: int, turns: int) -> str:
    """Chunked against quadratic attention by length: where `CHUNKED_FROM` belongs."""
    gamma, rows = hierarchical_decay(3, 12, 4), []
    for tokens in (32, 64, 128, 192, 256, 384, 512, 1024, 2048, 4096):
        q, k, v = torch.randn(3, 1, tokens, 4, 64).transpose(2, 3)
        with torch.inference_mode():
            both = by_turns(
                lambda: decay_attention(q, k, v, gamma, mode="chunked"),  # noqa: B023
                lambda: decay_attention(q, k, v, gamma, mode="quadratic"),  # noqa: B023
                4 * turns,
            )
        chunked = tokens >= CHUNKED_FROM
        near = both.ratio <= 1.1 if chunked else both.ratio >= 1 / 1.1
        rows.append([str(tokens), *_times(both), "chunked" if chunked else "quadratic", verdict(near)])
    header = ["tokens", "chunked, ms", "quadratic, ms", "ratio (quartiles)", "auto", "within 10 % of best"]
    return "## Attention by length\n\n4 heads of 64 channels, batch 1, inference.\n\n" + table(header, rows)


def neurons(threads: int, turns: int) -> str:
    """Values per second through each neuron: inference, and forward with backward."""
    rows, tokens, channels = [], 2000, 256
    for name, neuron, shape in (
        ("IMLS, 6 levels", IMLS(amplitude="unit"), (tokens, channels)),
        ("LIF, 6 steps", LIF(), (6, tokens, channels)),
        ("PLIF, 6 steps", PLIF(), (6, tokens, channels)),
    ):
        x, grad = torch.randn(shape, requires_grad=True), torch.ones(shape)

        def forward(neuron=neuron, x=x):
            with torch.inference_mode():
                neuron(x)

        def backward(neuron=neuron, x=x, grad=grad):
            neuron(x).backward(grad)

        both = by_turns(forward, backward, 2 * turns)
        rates = [tokens * channels / sorted(s)[len(s) // 2] / 1e6 for s in (both.ours, both.theirs)]
        rows.append([name, *(f"{rate:.0f}" for rate in rates)])
    header = ["neuron", "inference, 10^6/s", "forward and backward, 10^6/s"]
    return (
        f"## Neurons\n\n{tokens} tokens of {channels} channels; several steps for a token count once.\n\n"
        + table(header, rows)
    )


QUESTIONS = {
    "inference": inference,
    "hour": hour,
    "train": train,
    "attention": attention,
    "neurons": neurons,
    "operators": operators,
    "vocoder": vocoder,
    "voice": voice,
    "gpu": gpu,
}
