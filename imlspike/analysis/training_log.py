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


def read_epochs(path) -> list[dict]:
    """The epochs that a `train.log` reports, in order; of an epoch that was run again the last.

    Returns:
        For each epoch ``{"epoch": n, "train": {...}, "valid": {...}}`` with the numbers of each phase and its
        ``seconds``.
    """
    epochs = {}
    with open(path, encoding="utf-8", errors="replace") as log:
        for line in log:
            if found := _RESULTS.search(line):
                phases = {phase: _phase(text) for phase, text in _PHASE.findall(found[2])}
                epochs[int(found[1])] = {"epoch": int(found[1]), **phases}
    return [epochs[number] for number in sorted(epochs)]


def _phase(text):
    numbers = {key: float(value) for key, value in _NUMBER.findall(text)}
    if span := _TIME.search(text):
        numbers["seconds"] = seconds_of(span[1])
    return numbers


def peak_memory_mb(path) -> int | None:
    """The most resident memory, in MB of 2^20 bytes, that a training process reported at its end, or None."""
    found = _MEMORY.findall(Path(path).read_text(encoding="utf-8", errors="replace"))
    return max(map(int, found)) if found else None
