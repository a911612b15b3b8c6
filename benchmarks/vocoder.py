"""Speed and memory of Spiking Vocos against Vocos, its ANN twin: the question "vocoder" of the report."""

import os
from pathlib import Path

import torch
import yaml

from benchmarks.measure import ROOT, Comparison, by_turns, in_own_process, table, verdict
from imlspike.losses import MelLoss
from imlspike.models import SpikingVocos

BATCH, SAMPLES = 16, 16384

# What stands in a table, the arguments, and how many times the time and the memory of the twin it may take.
KINDS = {
    "plif": ("PLIF, 4 steps", dict(neuron="plif", steps=4), 2.5, 3.0),
    "tsm": ("PLIF, 4 steps, TSM", dict(neuron="plif", steps=4, temporal_shift="fixed"), 2.5, 3.0),
    "imls": ("IMLS, one pass", dict(neuron="imls", steps=4), 1.2, None),
    "none": ("Vocos", dict(neuron="none"), None, None),
}
SIZES = {"paper": None, "small": Path("conf/voc_small.yaml")}


def vocoder(kind: str, size: str) -> SpikingVocos:
    """A vocoder of `KINDS` and `SIZES`; fresh, as no time here depends on the weights."""
    file = SIZES[size]
    config = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["generator"] if file else {}
    return SpikingVocos(**{**config, **KINDS[kind][1]})


def train_step(kind: str, size: str):
    """A function that takes the generator's gradients once: forward, mel loss, backward."""
    model = vocoder(kind, size)
    audio = 0.1 * torch.randn(BATCH, SAMPLES)
    mel = model.features(audio)
    loss = MelLoss(model.sampling_rate, model.config["n_fft"], model.hop_length, model.n_mels)

    def step():
        model.zero_grad()
        loss(model(mel), audio).backward()

    return step


def decode(kind: str, size: str, seconds: int):
    """A function that decodes so many seconds in one piece."""
    model = vocoder(kind, size).eval()
    mel = torch.randn(1, model.n_mels, seconds * model.sampling_rate // model.hop_length)

    def run():
        with torch.inference_mode():
            model.decode(mel)

    return run


def _row(size: str, kind: str, what: str, both: Comparison, limit: float | None) -> list[str]:
    ours, theirs = (f"{1e3 * sorted(seconds)[len(seconds) // 2]:.0f}" for seconds in (both.ours, both.theirs))
    low, high = both.spread
    target = f"<= {limit}" if limit else ""
    met = None if limit is None else both.ratio <= limit
    ratio = f"{both.ratio:.2f} ({low:.2f}-{high:.2f})"
    return [size, KINDS[kind][0], what, ours, theirs, ratio, target, verdict(met)]


def _memory_rows(size: str, kind: str, threads: int, limit: float | None) -> list[list[str]]:
    seen = [in_own_process("vocoder", each, size, "--threads", str(threads)) for each in (kind, "none")]
    rows = []
    for what, base in (("memory, MB", 0), ("memory beyond the model's, MB", 1)):
        ours, theirs = (each["peak_mb"] - base * each["before_mb"] for each in seen)
        target = f"<= {limit}" if limit else ""
        met = None if limit is None else ours / theirs <= limit
        ratio = f"{ours / theirs:.2f}"
        rows.append([size, KINDS[kind][0], what, f"{ours:.0f}", f"{theirs:.0f}", ratio, target, verdict(met)])
    return rows


def question(threads: int, turns: int) -> str:
    """Training step and inference; targets: 2.5 times the twin's time, 3 times its memory; IMLS 1.2 times."""
    training, inference = [], []
    for size in SIZES:
        twin = train_step("none", size)
        for kind in ("plif", "tsm", "imls"):
            limit, memory = KINDS[kind][2:]
            both = by_turns(train_step(kind, size), twin, turns)
            training.append(_row(size, kind, "time, ms", both, limit if kind != "imls" else None))
            training += _memory_rows(size, kind, threads, memory)
        for seconds in (10, 60):
            twin = decode("none", size, seconds)
            for kind in ("plif", "tsm", "imls"):
                both = by_turns(decode(kind, size, seconds), twin, turns)
                inference.append(_row(size, kind, f"{seconds} s", both, KINDS[kind][2]))
    header = ["size", "generator", "", "spiking", "Vocos", "ratio (quartiles)", "target", ""]
    pages = os.environ.get("THP_MEM_ALLOC_ENABLE") == "1"
    return (
        "## Spiking Vocos\n\nA training step of the generator, forward, mel loss and backward, on "
        f"{BATCH} x {SAMPLES} samples; {turns} turns each. Memory: peak of the whole process after three "
        "steps, each in its own; and how much of it came after the model was made. "
        f"Huge pages {'on' if pages else 'off'}.\n\n"
        + table(header, training)
        + f"\n\nInference, batch 1, in one piece, milliseconds; {turns} turns each.\n\n"
        + table(header[:2] + ["audio"] + header[3:], inference)
    )
