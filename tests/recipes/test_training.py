"""Training by two processes through the recipe: what it learns, and that it goes on after one is killed."""

import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike.evaluation.training_log import read_epochs  # noqa: E402
from tests.recipes.corpus import write_corpus  # noqa: E402
from tests.recipes.test_msu_ru_nsh import epochs_finished, finish, start  # noqa: E402

HERE = Path(__file__).parent
EPOCHS = [1, 2, 3]
MODEL = ("--experiments", f"tiny:{HERE}/tiny.yaml:{HERE}/undisturbed.yaml")
TRAIN = (*MODEL, "--stage", "11", "--stop_stage", "11")

pytestmark = pytest.mark.timeout(3000)  # a minute of work for one idle core


@dataclass
class Trainings:
    """The experiments of one process and of two, and what the run printed of which one process was killed."""

    one: Path
    two: Path
    printed: str


def ranks(pid: int) -> list[int]:
    """The processes below this one that share a training, in their order."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        found += [int(child)] if b"spawn_main" in command else ranks(int(child))
    return sorted(found)


def kill_second_process_in_epoch_2(work: Path) -> str:
    """Run the recipe, kill -9 one of the two processes in the middle of epoch 2; what the recipe printed."""
    log = work / "exp/tiny/train.log"
    process = start(work, *TRAIN, "--num_processes", "2")
    deadline = time.monotonic() + 1000
    while not (log.exists() and "2epoch:train:1-" in log.read_text()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "the training did not start"
        time.sleep(0.02)
    first, second = ranks(process.pid)
    os.kill(second, signal.SIGKILL)
    printed, _ = process.communicate(timeout=200)
    assert process.returncode != 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in (first, second))
    return printed


@pytest.fixture(scope="module")
def trainings(tmp_path_factory) -> Trainings:
    work = tmp_path_factory.mktemp("trainings")
    one, two = work / "one", work / "two"
    write_corpus(one / "corpus")
    finish(start(one, *MODEL, "--stop_stage", "10"))
    shutil.copytree(one, two)
    finish(start(one, *TRAIN))
    printed = kill_second_process_in_epoch_2(two)
    finish(start(two, *TRAIN, "--num_processes", "2"))
    return Trainings(one / "exp/tiny", two / "exp/tiny", printed)


def test_when_one_of_two_processes_is_killed_the_recipe_stops_and_says_so(trainings):
    assert "terminated with signal SIGKILL" in trainings.printed
    assert "stopped in stage 11" in trainings.printed


def test_it_goes_on_where_it_was_and_trains_no_epoch_twice(trainings):
    assert epochs_finished(trainings.two / "train.1.log") == EPOCHS[:1]
    assert epochs_finished(trainings.two / "train.log") == EPOCHS


def test_two_processes_learn_what_one_does_with_batches_of_twice_the_size(trainings):
    """ESPnet's batch is shared by the processes: with the same configuration, each of two has half of it.

    The curves can't be the same for long: sums in another order round otherwise, and a spike more or less
    makes the difference grow. Measured on three seeds, one process against two: training loss up to 0.15 %
    apart, validation loss 0.9 %. One process with batches of half the size: 1 to 3.6 % in the third epoch.
    Other seeds: up to 2 % and 6 %.
    """
    curves = [read_epochs(exp / "train.log") for exp in (trainings.one, trainings.two)]
    for one, two in zip(*curves, strict=True):
        assert one["epoch"] == two["epoch"]
        assert two["train"]["loss"] == pytest.approx(one["train"]["loss"], rel=0.004)
        assert two["valid"]["loss"] == pytest.approx(one["valid"]["loss"], rel=0.02)
    assert [epoch["epoch"] for epoch in curves[0]] == EPOCHS
    assert curves[0][-1]["train"]["loss"] < 0.95 * curves[0][0]["train"]["loss"]
