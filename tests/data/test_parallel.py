"""Work in several processes: what is raised and killed there comes back as an error that says so."""

import os
import signal

import pytest

from imlspike.data import parallel
from imlspike.data.parallel import map_parallel


def process_of(item):
    return os.getpid()


def kill_self(item):
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_come_in_order_and_a_killed_or_failed_process_is_told(monkeypatch):
    monkeypatch.setattr(parallel, "PER_PROCESS", 1)
    assert list(map_parallel(abs, range(-9, 0), 2)) == list(range(9, 0, -1))
    assert os.getpid() not in map_parallel(process_of, range(3), 2)
    with pytest.raises(RuntimeError, match="one of 2 processes was killed, .* run again with fewer"):
        list(map_parallel(kill_self, range(3), 2))
    with pytest.raises(TypeError, match="bad operand"):
        list(map_parallel(abs, ["a", "b"], 2))


def test_few_items_start_no_process(monkeypatch):
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", None)
    assert list(map_parallel(abs, range(-100, 0), 8)) == list(range(100, 0, -1))
