"""The output of a recipe: lines with the time since its start, and the essence of logs while they grow."""

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from imlspike.data.progress import duration

_STARTED = re.compile(r"(\d+)/(\d+)epoch started")
_BATCHES = re.compile(r"\[train\] Batch sampler: .*?N-batch=(\d+)")
_STEP = re.compile(r"(\d+)epoch:train:\d+-(\d+)batch:.* loss=([^, ]+)")
_RESULTS = re.compile(r"(\d+)epoch results: (\[train\].*)")
_VOCODER_STEP = re.compile(r"(step \d+/\d+): (.*?;) .*?, ((?:\d+ days?, )?[\d:]+) left")
_VALIDATION = re.compile(r"validation at (step \d+): (.*)")
_PROGRESS = re.compile(r"\d+(/| of )\d+,? .*left$")
_STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_RATES = {"cer_ctc": "CER by CTC", "cer": "CER", "acc": "accuracy"}
_LOSSES = {"mel_post_loss": "mel", "forward_sum_loss": "alignment"}
_begin = time.monotonic()


def start_clock() -> None:
    """From now on `log` counts."""
    global _begin
    _begin = time.monotonic()


def log(text: str) -> None:
    """Print a line with the time since the start."""
    seconds = int(time.monotonic() - _begin)
    clear = "\r\033[K" if sys.stdout.isatty() else ""
    print(f"{clear}[{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}] {text}", flush=True)


class Log:
    """The essence of one log: of an ESPnet training a line an epoch, of a vocoder's a line a validation, of
    other programs the lines that end in "left"."""

    def __init__(self, name: str, path: str):
        self.name, self.path = name, path
        self.epoch = self.epochs = self.batch = self.batches = 0
        self.loss = self.step = self.left = ""
        self.started, self.seconds = None, []
        self.file, self.position = None, 0  # what is there already isn't news
        if os.path.exists(path):
            self.file, self.position = os.stat(path).st_ino, os.stat(path).st_size

    def news(self) -> list[str]:
        """The essence of lines appended since the last call, also to a new file in its place."""
        try:
            with open(self.path, "rb") as file:
                state = os.fstat(file.fileno())
                if state.st_ino != self.file or state.st_size < self.position:
                    self.file, self.position = state.st_ino, 0
                file.seek(self.position)
                text = file.read()
        except OSError:  # not there yet, or moved away
            return []
        text = text[: text.rfind(b"\n") + 1]
        self.position += len(text)
        return [told for line in text.decode(errors="replace").splitlines() if (told := self.read(line))]

    def read(self, line: str) -> str | None:
        """The text to show for a line of the log, or None."""
        if match := _BATCHES.search(line):
            self.batches = int(match[1])
        elif match := _STARTED.search(line):
            self.epoch, self.epochs, self.batch = int(match[1]), int(match[2]), 0
            self.started = _time(line)
        elif match := _STEP.search(line):
            self.batch, self.loss = int(match[2]), match[3]
        elif match := _RESULTS.search(line):
            return self._epoch(line, match[2])
        elif match := _VOCODER_STEP.search(line):
            self.step, self.left = f"{match[1]} {match[2][:-1]}, {match[3]} left", f", {match[3]} left"
            if re.fullmatch(r"step (\d+)/\1", match[1]):
                self.step = ""  # the training is over
        elif match := _VALIDATION.search(line):
            return f"{self.name}: {match[1]}, validation {match[2]}{self.left}"
        elif _PROGRESS.search(line):
            return f"{self.name}: {line}"
        return None

    def _epoch(self, line: str, results: str) -> str:
        train, valid = (
            dict(re.findall(r"(\w+)=([^, ]+)", part)) for part in results.partition("[valid]")[::2]
        )
        told = [f"{self.name}: epoch {self.epoch}/{self.epochs}", f"train loss {train.get('loss')}"]
        told += [f"valid loss {valid.get('loss')}"]
        rates = {key: float(value) for key, value in valid.items() if key in _RATES}
        rates = {key: rate for key, rate in rates.items() if rate == rate}  # NaN: the model has no such part
        told += [f"{text} {100 * rates[key]:.1f} %" for key, text in _RATES.items() if key in rates]
        told += [f"{text} {valid[key]}" for key, text in _LOSSES.items() if key in valid]
        if self.started and (ended := _time(line)):
            self.seconds.append((ended - self.started).total_seconds())
            left = sum(self.seconds) / len(self.seconds) * (self.epochs - self.epoch)
            told += [f"{self.seconds[-1]:.0f} s", f"about {duration(left)} left"]
        if self.epoch == self.epochs:
            self.epochs = 0  # the training is over
        return ", ".join(told)

    def status(self) -> str:
        """The place that the running epoch or training has reached; empty before and after it."""
        if self.step or not self.epochs:
            return f"{self.name}: {self.step}" if self.step else ""
        batches = f"/{self.batches}" if self.batches else ""
        loss = f" loss {self.loss}" if self.loss else ""
        return f"{self.name}: epoch {self.epoch}/{self.epochs} batch {self.batch}{batches}{loss}"


def _time(line: str) -> datetime | None:
    match = _STAMP.search(line)
    return datetime.fromisoformat(match[0]) if match else None


class Count:
    """State of a count, with an estimate of the rest that falls while the count stands still."""

    def __init__(
        self, what: str, total: Callable[[], float], count: Callable[[], float], clock=time.monotonic
    ):
        self.what, self.count_all, self.count, self.clock = what, total, count, clock
        self.begin = self.at = self.told = clock()
        self.first = self.last = None

    def news(self) -> list[str]:
        """A line, ten seconds or more after the last, once something is done and while something is left."""
        now, count = self.clock(), self.count()
        if self.first is None:
            self.total = self.count_all()
        if self.first is None or count < self.first:
            self.first = self.last = count
        if count > self.last:
            self.last, self.at = count, now
        if not self.first < count < self.total or now - self.told < 10:
            return []
        self.told = now
        left = (self.at - self.begin) * (self.total - count) / (count - self.first) - (now - self.at)
        return [f"{count:.0f} of {self.total:.0f} {self.what}, about {duration(max(left, 1))} left"]

    def status(self) -> str:
        return ""


@contextmanager
def follow(sources: Sequence[Log | Count], interval: float = 1.0, quiet: float = 60.0) -> Iterator[None]:
    """Within the block, tell what is new; where each source is stands in a line that a terminal rewrites, and
    that is printed every `quiet` seconds without one."""
    over, terminal, told = threading.Event(), sys.stdout.isatty(), time.monotonic()

    def tell():
        nonlocal told
        for line in [line for source in sources for line in source.news()]:
            log(f"  {line}")
            told = time.monotonic()
        status = "   ".join(filter(None, [source.status() for source in sources]))
        if terminal and status:
            print(f"\r\033[K  {status}", end="", flush=True)
        elif status and time.monotonic() - told > quiet:
            told = time.monotonic()
            log(f"  {status}")

    def run():
        while not over.wait(interval):
            tell()
        tell()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if terminal:
            print("\r\033[K", end="", flush=True)
