"""One tiny recogniser, trained once per session, for every test that needs one (see tiny.py)."""

import socket
from pathlib import Path

import pytest

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from tests.espnet.tiny import finish, python, train_args, write_data  # noqa: E402


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
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    ranks = [
        python(
            "-m",
            "imlspike.espnet.asr_train",
            *train_args(
                tiny_data,
                exp,
                max_epoch=1,
                ngpu=0,
                dist_backend="gloo",
                dist_world_size=2,
                dist_rank=rank,
                dist_master_addr="localhost",
                dist_master_port=port,
            ),
        )
        for rank in (0, 1)
    ]
    (exp / "train.log").write_text("".join(finish(rank) for rank in ranks))
    return exp
