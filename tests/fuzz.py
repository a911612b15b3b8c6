"""Fuzzing for as long as wanted: `python -m tests.fuzz audio|texts|bundles|options [--minutes 30]`.

Runs a test's property on other inputs until the time is over. What fails is shrunk and ends it; what takes
more than five minutes (of a busy machine) is told with its place, and gigabytes too many are a failure.
"""

import argparse
import faulthandler
import resource
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings

TARGETS = {
    "audio": ("tests.real_world.test_audio", "test_whatever_happens_to_a_file_it_is_read_or_refused"),
    "texts": ("tests.real_world.test_texts", "test_any_text_gives_symbols_or_names_what_it_cannot_speak"),
    "bundles": (
        "tests.inference.test_damaged_bundles",
        "test_a_damaged_bundle_works_or_is_refused",
    ),
    "options": ("tests.recipes.test_wild_options", "test_a_wild_command_line_is_read_or_refused"),
}
PROFILE = {
    "max_examples": 1000,  # at once
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.generate, Phase.shrink],
}
MEMORY = 8 * 2**30  # bytes of address space, of which libraries take three


class Folders:
    """pytest's `tmp_path_factory`, as far as properties use it: one folder again and again."""

    def __init__(self, folder: str):
        self.folder = Path(folder)

    def mktemp(self, name: str) -> Path:
        return self.folder


def main() -> None:
    """Fuzz a target and tell how many inputs there were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    settings.register_profile("fuzz", **PROFILE)
    settings.load_profile("fuzz")  # before the test is made with it
    module, name = TARGETS[args.target]
    test = getattr(import_module(module), name)
    inner, needs = test.hypothesis.inner_test, test.hypothesis.inner_test.__code__.co_varnames
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    end, count = time.monotonic() + 60 * args.minutes, 0

    def counted(*given, **named) -> None:
        nonlocal count
        if time.monotonic() >= end:
            raise KeyboardInterrupt  # which hypothesis lets through
        faulthandler.dump_traceback_later(300)
        inner(*given, **named)
        count += 1

    test.hypothesis.inner_test = counted
    with tempfile.TemporaryDirectory() as folder:
        fixtures = {"tmp_path_factory": Folders(folder)} if "tmp_path_factory" in needs else {}
        try:
            while True:
                seed(args.seed)(test)(**fixtures)
                args.seed += 1
        except KeyboardInterrupt:
            told = "all as they should be"
        except BaseException:
            told = "and one that failed"
            raise
        finally:
            print(f"{args.target}: {count} inputs in {args.minutes:g} minutes, {told}")


if __name__ == "__main__":
    sys.exit(main())
