"""One tiny recogniser, trained once per session, for every test that needs one (see tiny.py)."""

from functools import partial
from pathlib import Path

import pytest
import torch

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike.espnet import register  # noqa: E402
from tests.espnet.tiny import train, write_data  # noqa: E402


@pytest.fixture(scope="session")
def registered() -> None:
    """ESPnet knows our parts: `pytestmark = pytest.mark.usefixtures("registered")`."""
    register()


@pytest.fixture
def features() -> torch.Tensor:
    """Of three utterances, (3, 60, 20)."""
    torch.manual_seed(1)
    return torch.randn(3, 60, 20) + 1


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """A Kaldi directory of six short utterances."""
    folder = tmp_path_factory.mktemp("tiny_data")
    write_data(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_experiment(tiny_data, tmp_path_factory) -> Path:
    """The experiment folder of a recogniser trained for one epoch by two processes on the CPU."""
    exp = tmp_path_factory.mktemp("tiny_experiment")
    assert train(tiny_data, exp, fork_not_spawn, max_epoch=1, ngpu=0, num_processes=2) == [0]
    return exp


def fork_not_spawn(exp) -> None:
    """Let `--num_processes` start processes that import nothing anew."""
    import torch

    torch.multiprocessing.spawn = partial(torch.multiprocessing.start_processes, start_method="fork")
