"""Programs that a recipe starts: their ends, what is told of failures, and that none is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imlspike.recipes.processes import ProgramError, RecipeError, call, children, verb

SLEEPER = "import subprocess, sys, time; subprocess.Popen(['sleep', '{0}']); time.sleep(300)"
RUNNER = """
import sys, threading
from imlspike.recipes.processes import call
threading.Thread(target=call, args=([sys.executable, "-c", {0!r}],)).start()
"""


def wait_until(true) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running(*words: str) -> list[str]:
    """Processes with this command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path.parent.name] if "\0".join(words).encode() in path.read_bytes() else []
        except OSError:  # ended meanwhile
            pass
    return found


def test_a_failure_shows_the_end_of_the_log(tmp_path):
    script = "seq 100; echo broken >&2; exit 3"
    with pytest.raises(ProgramError, match="(?s)status 3.*out/log.*\n100\nbroken") as caught:
        call(["bash", "-c", script], tmp_path / "out/log")
    assert "\n50\n" not in str(caught.value) and not caught.value.memory
    assert "\n50\n" in (tmp_path / "out/log").read_text()
    call(["true"], tmp_path / "out/log", {"NAME": "value"})


@pytest.mark.parametrize("script", ["kill -9 $$", "echo CUDA out of memory; exit 1"])
def test_a_program_that_was_killed_for_memory_is_told_with_the_figure(tmp_path, script):
    with pytest.raises(ProgramError) as caught:
        call(["bash", "-c", script], tmp_path / "log")
    assert " GB of this machine's " in caught.value.memory


def test_nothing_that_was_started_survives_kill_9():
    """Neither the child nor its own children, which hold no pipe and get no signal of it."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-c", RUNNER.format(SLEEPER.format("300.625"))]
    runner = subprocess.Popen(words, env=environment, start_new_session=True)
    wait_until(lambda: running("sleep", "300.625"))
    os.killpg(runner.pid, signal.SIGKILL)
    runner.wait()
    wait_until(lambda: not running("sleep", "300.625"))


def test_end_ends_what_runs_and_starts_nothing_more(tmp_path):
    import threading

    failed = []

    def work():
        try:
            call(["sleep", "300.875"], tmp_path / "log")
        except ProgramError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: running("sleep", "300.875"))
    try:
        children.end()
        thread.join(20)
        assert failed and not running("sleep", "300.875")
        with pytest.raises(RecipeError, match="interrupted"):
            call(["true"])
    finally:
        children.ending = False


def test_a_verb_that_fails_stops_the_recipe(capsys):
    with pytest.raises(RecipeError, match="imlspike fit failed"):
        verb("fit", "--no-such-option")
    with pytest.raises(RecipeError, match="imlspike fit failed"):
        verb("fit", "nowhere", "--output-dir", "nowhere")
