"""Shows the essence of logs while they grow: `follow.py NAME=LOG [NAME=LOG ...]`.

Of ESPnet's trainings one line an epoch: losses, error rate on the validation set (of a voice what mel and
alignment lose there), seconds, time left; of a vocoder's one line a validation. Of other programs the lines
that end in "left", as "profiled 3/51, about 20 s left". On a terminal one more line, rewritten in place,
shows the batch or the step that each training is at.
Reads what is appended after its start, also to a new file that takes the log's place, and ends on SIGTERM,
or when the process that started it is gone.
"""

import os
import re
import signal
import sys
import time
from datetime import datetime

STARTED = re.compile(r"(\d+)/(\d+)epoch started")
BATCHES = re.compile(r"\[train\] Batch sampler: .*?N-batch=(\d+)")
STEP = re.compile(r"(\d+)epoch:train:\d+-(\d+)batch:.* loss=([\d.e+-]+)")
RESULTS = re.compile(r"(\d+)epoch results: (\[train\].*)")
VOCODER_STEP = re.compile(r"(step \d+/\d+): (.*?;) .*?, ((?:\d+ days?, )?[\d:]+) left")
VALIDATION = re.compile(r"validation at (step \d+): (.*)")
PROGRESS = re.compile(r"\d+/\d+,? .*left$")
STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)")
CLOCK = "%Y-%m-%d %H:%M:%S"


def duration(seconds):
    """A time in the unit a person would say.

    >>> duration(42), duration(200), duration(7300)
    ('42 s', '3 min', '2 h 02 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class Log:
    """What one log has told so far. `read(line)` returns the text to show for an epoch or a step, or None."""

    def __init__(self, name):
        self.name = name
        self.epoch = self.epochs = self.batch = self.batches = 0
        self.loss = self.step = self.left = ""
        self.started = None
        self.seconds = []

    def read(self, line):
        if match := BATCHES.search(line):
            self.batches = int(match[1])
        elif match := STARTED.search(line):
            self.epoch, self.epochs, self.batch = int(match[1]), int(match[2]), 0
            self.started = STAMP.search(line)
        elif match := STEP.search(line):
            self.batch, self.loss = int(match[2]), match[3]
        elif match := RESULTS.search(line):
            return self.finished(line, match[2])
        elif match := VOCODER_STEP.search(line):
            self.step, self.left = f"{match[1]} {match[2][:-1]}, {match[3]} left", f", {match[3]} left"
        elif match := VALIDATION.search(line):
            return f"  {self.name}: {match[1]}, validation {match[2]}{self.left}"
        elif PROGRESS.search(line):
            return f"  {self.name}: {line}"
        return None

    def finished(self, line, results):
        """The line of a finished epoch, from ESPnet's `[train] loss=1.2, ..., [valid] loss=1.3, ...`."""
        train, _, valid = results.partition("[valid]")
        parts = [f"  {self.name}: epoch {self.epoch}/{self.epochs}", f"train loss {value(train, 'loss')}"]
        parts.append(f"valid loss {value(valid, 'loss')}")
        for key, label in (("cer_ctc", "CER by CTC"), ("cer", "CER"), ("acc", "accuracy")):
            if (found := value(valid, key)) is not None:
                parts.append(f"{label} {100 * float(found):.1f} %")
        for key, label in (("mel_post_loss", "mel"), ("forward_sum_loss", "alignment")):
            if (found := value(valid, key)) is not None:
                parts.append(f"{label} {found}")
        ended = STAMP.search(line)
        if self.started and ended:
            spent = datetime.strptime(ended[1], CLOCK) - datetime.strptime(self.started[1], CLOCK)
            self.seconds.append(spent.total_seconds())
            left = sum(self.seconds) / len(self.seconds) * (self.epochs - self.epoch)
            parts += [f"{self.seconds[-1]:.0f} s", f"about {duration(left)} left"]
        return ", ".join(parts)

    def status(self):
        """Where the running epoch is, for the line that is rewritten in place."""
        if self.step:
            return f"{self.name}: {self.step}"
        if not self.epochs:
            return f"{self.name}: loading"
        batches = f"/{self.batches}" if self.batches else ""
        loss = f" loss {self.loss}" if self.loss else ""
        return f"{self.name}: epoch {self.epoch}/{self.epochs} batch {self.batch}{batches}{loss}"


def value(results, key):
    """The figure of `key` in ESPnet's `key=value, key=value`, or None.

    >>> value("loss_ctc=3.1, loss=2.5, acc=0.4", "loss"), value("loss=2.5", "cer")
    ('2.5', None)
    """
    match = re.search(rf"(?:^|[ ,]){key}=([\d.e+-]+)", results)
    return match[1] if match else None


def follow(logs, interval=1.0, terminal=False, alive=lambda: True):
    """Print new epochs of `{name: path}` until `alive()` is false."""
    states = {path: Log(name) for name, path in logs.items()}
    positions = {path: (file.st_ino, file.st_size) for path in states if (file := stat(path))}
    running = True
    while running:
        running = alive()
        for path, state in states.items():
            for line in new_lines(path, positions):
                if (text := state.read(line)) is not None:
                    print(f"\r\033[K{text}" if terminal else text, flush=True)
        if terminal:
            print("\r\033[K  " + "   ".join(state.status() for state in states.values()), end="", flush=True)
        if running:
            time.sleep(interval)
    if terminal:
        print("\r\033[K", end="", flush=True)


def new_lines(path, positions):
    """The whole lines appended to `path` since the last call; a line still being written waits."""
    if (file := stat(path)) is None:
        return []
    number, position = positions.get(path, (file.st_ino, 0))
    if number != file.st_ino or position > file.st_size:
        position = 0
    with open(path, "rb") as log:
        log.seek(position)
        text = log.read()
    text = text[: text.rfind(b"\n") + 1]
    positions[path] = (file.st_ino, position + len(text))
    return text.decode(errors="replace").splitlines()


def stat(path):
    """What the system says of a file, None where there is none."""
    try:
        return os.stat(path)
    except OSError:
        return None


def main(argv):
    if not argv or not all("=" in word for word in argv):
        sys.exit(__doc__)
    parent, told_to_end = os.getppid(), []
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.append(True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's Ctrl-C reaches the script, which ends this one
    logs = dict(word.split("=", 1) for word in argv)
    follow(logs, terminal=sys.stdout.isatty(), alive=lambda: not told_to_end and os.getppid() == parent)


if __name__ == "__main__":
    main(sys.argv[1:])
