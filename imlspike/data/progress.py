"""A line now and then that says how far a long job is and how long the rest takes."""

import sys
import time


class Progress:
    """Prints `<what> <done>/<total>, about N s left` on stderr, now and then and at the end.

    Called with (done, total). The lines of a job are at least `every` seconds apart, and a twentieth of its
    time; the estimate takes the speed since the first call for the speed of the rest.

    >>> import contextlib
    >>> with contextlib.redirect_stderr(sys.stdout):
    ...     progress = Progress("files")
    ...     for done in range(1, 4):
    ...         progress(done, 3)
    files 3/3
    """

    quiet = False  # of all: print nothing

    def __init__(self, what: str, every: float = 5.0):
        self.what, self.every = what, every
        self.start: float | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.start is None:
            self.start, self.first, self.printed = now, done, now
        left = ""
        if done < total:
            if now - self.printed < max(self.every, (now - self.start) / 20) or done == self.first:
                return
            seconds = (now - self.start) * (total - done) / (done - self.first)
            left = f", about {duration(seconds)} left"
        self.printed = now
        if not self.quiet:
            print(f"{self.what} {done}/{total}{left}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time in the unit a person would say.

    >>> duration(42), duration(200), duration(7300)
    ('42 s', '3 min', '2 h 02 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
