"""Speed of SpikeVoice's training against the ANN twin's: the question "voice" of the report."""

from pathlib import Path

import torch
import yaml

from benchmarks.measure import ROOT, Comparison, by_turns, table, verdict
from imlspike.losses import SpikeVoiceLoss, average_by_duration, learned_durations
from imlspike.models import SpikeVoice

SYMBOLS, MELS = 80, 80
TOKENS, FRAMES = (80, 100), (440, 560)  # of the utterances of a batch, the shortest and the longest

# What stands in a table, the arguments, and how many times the twin's time it may take.
KINDS = {
    "lif": ("LIF, 4 steps", dict(neuron="lif", steps=4), 3.0),
    "sequential": ("LIF, 4 steps, sequential", dict(neuron="lif", steps=4, attention="sequential"), 3.0),
    "imls": ("IMLS, one pass", dict(neuron="imls", steps=4, attention="sequential"), 1.3),
    "none": ("ANN", dict(neuron="none"), None),
}
# The configuration and the utterances of a batch.
SIZES = {"paper": (None, 4), "small": (Path("conf/spikevoice_small.yaml"), 8)}


def voice(kind: str, size: str) -> tuple[SpikeVoice, SpikeVoiceLoss, float]:
    """A voice of `KINDS` and `SIZES`, its loss and `prior_scale`; fresh, no time depends on the weights."""
    file = SIZES[size][0]
    config = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["tts_conf"] if file else {}
    loss, prior_scale = SpikeVoiceLoss(config.pop("loss_weights", None)), config.pop("prior_scale", 1.0)
    config = {"vocab_size": SYMBOLS, "n_mels": MELS, **config, **KINDS[kind][1]}
    return SpikeVoice.from_config(config, str(file)), loss, prior_scale


def speech(utterances: int) -> dict[str, torch.Tensor]:
    """A padded batch: text (B, N), mel (B, L, M), lengths of both, and pitch and energy of each frame."""
    text_lengths, mel_lengths = (
        torch.linspace(*ends, utterances).round().long().flip(0) for ends in (TOKENS, FRAMES)
    )
    longest = int(mel_lengths.max())
    return {
        "text": torch.randint(0, SYMBOLS, (utterances, int(text_lengths.max()))),
        "text_lengths": text_lengths,
        "mel": torch.randn(utterances, longest, MELS),
        "mel_lengths": mel_lengths,
        "pitch": torch.randn(utterances, longest),
        "energy": torch.randn(utterances, longest),
    }


def train_step(kind: str, size: str):
    """A function that takes a training step: aligner, voice, all losses, backward, clipping and Adam."""
    model, loss, prior_scale = voice(kind, size)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98))
    batch = speech(SIZES[size][1])
    text, mel = (batch["text"], batch["text_lengths"]), (batch["mel"], batch["mel_lengths"])

    def step():
        optimiser.zero_grad()
        alignment, durations = learned_durations(model, *text, *mel, prior_scale)
        heard = [average_by_duration(batch[name], durations) for name in ("pitch", "energy")]
        said = model(*text, *mel, durations, *heard, alignment=alignment)
        loss(said, batch["text_lengths"], *mel, *heard)[0].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return step


def _row(size: str, kind: str, both: Comparison) -> list[str]:
    ours, theirs = (f"{1e3 * sorted(seconds)[len(seconds) // 2]:.0f}" for seconds in (both.ours, both.theirs))
    (low, high), limit = both.spread, KINDS[kind][2]
    ratio = f"{both.ratio:.2f} ({low:.2f}-{high:.2f})"
    batch = str(SIZES[size][1])
    return [size, batch, KINDS[kind][0], ours, theirs, ratio, f"<= {limit}", verdict(both.ratio <= limit)]


def question(threads: int, turns: int) -> str:
    """A training step; targets: 3 times the ANN twin's time with LIF at T = 4, 1.3 times with IMLS."""
    rows = []
    for size in SIZES:
        twin = train_step("none", size)
        for kind in ("lif", "sequential", "imls"):
            rows.append(_row(size, kind, by_turns(train_step(kind, size), twin, turns)))
    header = ["size", "batch", "voice", "spiking, ms", "ANN, ms", "ratio (quartiles)", "target", ""]
    return (
        "## SpikeVoice\n\nA training step with the aligner: forward, all losses, backward, clipping, Adam; "
        f"utterances of {TOKENS[0]} to {TOKENS[1]} symbols and {FRAMES[0]} to {FRAMES[1]} frames; {turns} "
        "turns each.\n\n" + table(header, rows)
    )
