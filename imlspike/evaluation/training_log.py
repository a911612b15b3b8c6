"""Logs of trainers: losses and times of each epoch, peak memory."""

import csv
import math
import re
import statistics
from pathlib import Path

_RESULTS = re.compile(r"INFO: (\d+)epoch results: (.*)")
_PHASE = re.compile(r"\[(\w+)\] (.*?)(?=, \[\w+\] |$)")
_NUMBER = re.compile(r"(\w+)=([-+.\deE]+|nan|inf)(?=,|$)")
_TIME = re.compile(r"(?:^|, )time=(.+?), total_count=")
_SPAN = re.compile(r"([\d.]+) (week|day|hour|minute|second)")
_SECONDS = {"week": 604800, "day": 86400, "hour": 3600, "minute": 60, "second": 1}
_MEMORY = re.compile(r"peak resident memory: (\d+) MB")


def seconds_of(timespan: str) -> float:
    """Seconds of a time as ESPnet (humanfriendly) writes it.

    >>> seconds_of("1 hour, 2 minutes and 5.5 seconds")
    3725.5
    """
    return sum(float(number) * _SECONDS[unit] for number, unit in _SPAN.findall(timespan))


def read_log(path) -> str:
    """The text of a log, after that of those which ESPnet's launcher has put aside for it.

    Each time a training is launched, `train.log` becomes `train.1.log` and that one `train.2.log`.
    """
    path = Path(path)
    numbered = {log.stem.split(".")[-1]: log for log in path.parent.glob(f"{path.stem}.*{path.suffix}")}
    earlier = [numbered[key] for key in sorted(filter(str.isdigit, numbered), key=int, reverse=True)]
    return "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in [*earlier, path])


def read_epochs(path) -> list[dict]:
    """The epochs that a `train.log` and those put aside for it report, in order; of repeated ones the last.

    Returns:
        For each epoch ``{"epoch": n, "train": {...}, "valid": {...}}`` with the numbers of each phase and its
        ``seconds``.
    """
    epochs = {}
    for number, results in _RESULTS.findall(read_log(path)):
        epochs[int(number)] = {"epoch": int(number)}
        for phase, text in _PHASE.findall(results):
            numbers = {key: float(value) for key, value in _NUMBER.findall(text)}
            if span := _TIME.search(text):
                numbers["seconds"] = seconds_of(span[1])
            epochs[int(number)][phase] = numbers
    return [epochs[number] for number in sorted(epochs)]


def peak_memory_mb(path) -> int | None:
    """The most resident memory, in MB of 2^20 bytes, that a training process reported at its end, or None."""
    return max(map(int, _MEMORY.findall(read_log(path))), default=None)


def training_costs(log: Path) -> dict | None:
    """Costs of a training by its `train.log`, and losses of its best epoch on validation data; None without
    a log of an epoch."""
    epochs = read_epochs(log) if log.is_file() else []
    trained = [epoch["train"] for epoch in epochs if "train" in epoch]
    if not trained:
        return None
    phases = [phase for epoch in epochs for phase in epoch.values() if isinstance(phase, dict)]
    valid = [epoch for epoch in epochs if math.isfinite(epoch.get("valid", {}).get("loss", math.nan))]
    best = min(valid, key=lambda epoch: epoch["valid"]["loss"], default={"epoch": None, "valid": {}})
    shown = ("loss", "acc", "cer", "cer_ctc")
    gpu = "gpu_max_cached_mem_GB"
    return {
        "epochs": len(epochs),
        "steps": int(trained[-1].get("total_count", 0)) or None,
        "seconds_per_epoch": statistics.median(phase["seconds"] for phase in trained),
        "hours": sum(phase["seconds"] for phase in phases) / 3600,
        "peak_memory_mb": peak_memory_mb(log),
        "gpu_memory_gb": max((phase[gpu] for phase in phases if gpu in phase), default=None),
        "best_epoch": best["epoch"],
        "valid": {k: v for k, v in best["valid"].items() if k in shown or k.endswith("_loss")},
    }


def vocoder_costs(table: Path) -> dict | None:
    """Costs of a vocoder's training by its log.csv, and its last mel loss on validation data; None without
    a line of it. A line that was cut (by a full disk) doesn't count."""
    rows = []
    if table.is_file():
        with open(table, encoding="utf-8", newline="") as opened:
            rows = [row for row in csv.DictReader(opened) if None not in row.values()]
    if not rows:
        return None
    mels = [float(row["valid_mel"]) for row in rows if row["valid_mel"]]
    return {
        "steps": int(rows[-1]["step"]),
        "discriminator_steps": int(rows[-1]["discriminator_steps"] or 0),
        "hours": float(rows[-1]["seconds"]) / 3600,
        "valid": {"mel": mels[-1]} if mels else {},
    }
