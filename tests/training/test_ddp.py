"""Two processes on the CPU train what one would train with batches twice as large."""

import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

pytest.importorskip("lightning")

from lightning.pytorch.utilities import rank_zero_only  # noqa: E402

from imlspike.training.log import TrainingLog  # noqa: E402
from imlspike.training.run import train  # noqa: E402
from imlspike.training.vocoder import VocoderTraining  # noqa: E402
from tests.training.tiny import config_for, in_forks, same, write_tones  # noqa: E402


@pytest.mark.timeout(900)
def test_two_processes_are_one_with_the_double_batch(repository, tmp_path):
    write_tones(tmp_path / "data")
    command = [sys.executable, "-m", "tests.training.tiny", str(tmp_path)]
    done = subprocess.run(
        command, cwd=repository, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert same(*ranks)
    config = config_for(tmp_path / "data", "none")
    torch.manual_seed(0)
    before = VocoderTraining(config).state_dict()
    config = replace(config, data=replace(config.data, batch_size=4))
    alone = train(config, tmp_path / "alone")
    for part in ("generator", "mpd", "mrd"):
        names = [name for name in before if name.startswith(part)]
        way = torch.cat([(alone.state_dict()[name] - before[name]).flatten() for name in names])
        apart = torch.cat([(alone.state_dict()[name] - ranks[0][name]).flatten() for name in names])
        assert way.norm() > 0 and apart.norm() < 1e-2 * way.norm(), part
    mel = torch.load(tmp_path / "exp/checkpoints/last.ckpt", weights_only=True)["callbacks"]
    best = [state["best_model_score"] for key, state in mel.items() if "valid_mel" in key]
    assert float(best[0]) == pytest.approx(alone.valid_mel, rel=1e-3)
    text = (tmp_path / "exp/train.log").read_text()
    assert "2 x 2 pieces" in text and text.count("step 4/6") == 1


def test_a_loss_that_is_nan_in_one_process_ends_all(data_dir, tmp_path):
    """Both processes are started here, as by a cluster: nothing kills one that waits for the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    tell = TrainingLog.on_train_batch_end

    def with_nan(self, trainer, module, outputs, *rest):
        nan = {"generator": torch.tensor(float("nan"))} if trainer.global_rank == 1 else {}
        tell(self, trainer, module, outputs | nan, *rest)

    def one(rank):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
        os.environ |= place
        rank_zero_only.rank = rank
        TrainingLog.on_train_batch_end = with_nan
        with pytest.raises(FloatingPointError):
            train(config_for(data_dir, "none", devices=2), tmp_path)

    assert in_forks(one, 2) == [0, 0]
