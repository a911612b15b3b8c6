"""One tiny training that several tests look at."""

import pytest
import torch

from tests.training.tiny import config_for, write_tones


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Six tones."""
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="session")
def straight(data_dir, tmp_path_factory):
    """(configuration, experiment, what was trained) of six steps in one go."""
    pytest.importorskip("lightning")
    pytest.importorskip("tensorboard")
    from imlspike.training.run import train

    torch.set_num_threads(1)
    exp, config = tmp_path_factory.mktemp("straight") / "exp", config_for(data_dir)
    return config, exp, train(config, exp, command=["imlspike", "train-vocoder", "--exp-dir", "exp"])
