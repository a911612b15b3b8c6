"""Measuring for the benchmarks: peers by turns in one process, peak memory each in a process of its own."""

import json
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

ROOT = Path(__file__).parent.parent


@dataclass
class Comparison:
    """Seconds of two peers that ran by turns.

    >>> both = Comparison([1.0, 1.0, 3.0], [2.0, 4.0, 2.0])
    >>> both.ratio, both.spread
    (0.5, (0.25, 1.5))
    """

    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        """ours / theirs, turn by turn: what disturbs the machine for longer than a turn hits both."""
        return sorted(a / b for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def ratio(self) -> float:
        """The median of `ratios`."""
        return median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles of `ratios` (of few turns: the least and the largest)."""
        count = len(self.ratios)
        return self.ratios[count // 4], self.ratios[count - 1 - count // 4]


def by_turns(ours: Callable, theirs: Callable, turns: int, warm_up: int = 1) -> Comparison:
    """Runs both `turns` times, each time one after the other, the first one alternating."""
    for _ in range(warm_up):
        ours(), theirs()
    result = Comparison([], [])
    for turn in range(turns):
        order = [(ours, result.ours), (theirs, result.theirs)]
        for run, seconds in order if turn % 2 == 0 else reversed(order):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    return result


def peak_mb() -> float:
    """The largest resident set of this process so far, in 10^6 bytes.

    Linux tells it in /proc since the program was started. What getrusage tells begins with the size of the
    process that started this one, so it serves only where there is no /proc.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text()).group(1)) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def in_own_process(*arguments: str) -> dict:
    """Run `python -m benchmarks.memory` with these arguments; return what it prints as a dictionary.

    Raises:
        RuntimeError: it failed; the end of what it said is in the message.
    """
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        said = done.stderr.strip()[-2000:] or f"exit status {done.returncode} (killed for want of memory?)"
        raise RuntimeError(f"{' '.join(command[1:])} failed: {said}")
    return json.loads(done.stdout.splitlines()[-1])


def setting() -> str:
    """The machine and versions a table was made with, in one line."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    commit = git.stdout.strip() or "unknown"
    versions = f"torch {torch.__version__}, Python {platform.python_version()}, git {commit}"
    return f"{torch.get_num_threads()} threads, {cpu}, {versions}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table.

    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("|" + "|".join(c if c == "---" else f" {c} " for c in line) + "|" for line in lines)


def verdict(met: bool | None) -> str:
    """Return the words that stand beside a target."""
    return "" if met is None else "met" if met else "**not met**"
