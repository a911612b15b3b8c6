"""A line now and then that says how far a long job is and how long the rest takes."""

import sys
import time


class Progress:
    """Prints `<what> <done>/<total>, about N s left` on stderr, now and then and at the end.

    Args:
        what: what is counted, as "recordings read".
        every: the fewest seconds between two lines; a job of hours says so less often, a twentieth of its
            time apart.

    An instance is called with (done, total); the estimate takes the speed since the first call for the speed
    of the rest.

    >>> import contextlib
    >>> with contextlib.redirect_stderr(sys.stdout):
    ...     progress = Progress("files")
    ...     for done in range(1, 4):
    ...         progress(done, 3)
    files 3/3
    """

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
            left = f", about {_spell(seconds)} left"
        self.printed = now
        print(f"{self.what} {done}/{total}{left}", file=sys.stderr, flush=True)


def _spell(seconds: float) -> str:
    """Seconds as people say them.

    >>> _spell(59), _spell(90), _spell(7200)
    ('59 s', '1.5 min', '2.0 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
