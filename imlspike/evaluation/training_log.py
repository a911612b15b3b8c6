"""What ESPnet's trainer wrote into its log: losses and times of each epoch, peak memory."""

import re
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
    earlier = [
        log for log in path.parent.glob(f"{path.stem}.*{path.suffix}") if log.stem.split(".")[-1].isdigit()
    ]
    earlier.sort(key=lambda log: -int(log.stem.split(".")[-1]))
    return "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in [*earlier, path])


def read_epochs(path) -> list[dict]:
    """The epochs that a `train.log` and those put aside for it report, in order; of repeated ones the last.

    Returns:
        For each epoch ``{"epoch": n, "train": {...}, "valid": {...}}`` with the numbers of each phase and its
        ``seconds``.
    """
    epochs = {}
    for number, results in _RESULTS.findall(read_log(path)):
        phases = {phase: _phase(text) for phase, text in _PHASE.findall(results)}
        epochs[int(number)] = {"epoch": int(number), **phases}
    return [epochs[number] for number in sorted(epochs)]


def _phase(text):
    numbers = {key: float(value) for key, value in _NUMBER.findall(text)}
    if span := _TIME.search(text):
        numbers["seconds"] = seconds_of(span[1])
    return numbers


def peak_memory_mb(path) -> int | None:
    """The most resident memory, in MB of 2^20 bytes, that a training process reported at its end, or None."""
    found = _MEMORY.findall(read_log(path))
    return max(map(int, found)) if found else None
