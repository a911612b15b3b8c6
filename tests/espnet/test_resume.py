"""Trainings that are killed, or whose disk fills up, and then go on."""

import errno
import os
import resource
import signal
from pathlib import Path

import pytest
import torch

from tests.espnet.tiny import train

EPOCHS, BATCHES = 3, 3
OPTIONS = {"max_epoch": EPOCHS, "resume": "true"}


def kill_in_the_middle_of_epoch_2(exp):
    """SIGKILL at the second batch of the second epoch."""
    from espnet2.asr.espnet_model import ESPnetASRModel

    forward, batches = ESPnetASRModel.forward, [0]

    def counting(self, *args, **kwargs):
        batches[0] += self.training
        if batches[0] == BATCHES + 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(self, *args, **kwargs)

    ESPnetASRModel.forward = counting


def kill_while_checkpoint_2_is_written(exp):
    """SIGKILL with half of the second checkpoint on disk."""
    save, count = torch.save, [0]

    def counting(obj, f, *args, **kwargs):
        count[0] += "optimizers" in obj
        if count[0] == 2:
            f.write(b"half a checkpoint")
            f.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return save(obj, f, *args, **kwargs)

    torch.save = counting


def kill_between_checkpoint_2_and_its_model(exp):
    """SIGKILL when checkpoint.pth tells of epoch 2 while 2epoch.pth isn't there."""
    save, count = torch.save, [0]

    def counting(obj, f, *args, **kwargs):
        if count[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        count[0] += "optimizers" in obj
        return save(obj, f, *args, **kwargs)

    torch.save = counting


def fill_the_disk_in_epoch_2(exp):
    """From the second epoch on, no file can grow over 20 kB: writing the checkpoint stops in the middle."""
    from espnet2.train.trainer import Trainer

    train_one_epoch, epochs = Trainer.train_one_epoch.__func__, [0]

    def limited(cls, **kwargs):
        epochs[0] += 1
        if epochs[0] == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        return train_one_epoch(cls, **kwargs)

    Trainer.train_one_epoch = classmethod(limited)


@pytest.fixture(scope="module")
def uninterrupted(tiny_data, tmp_path_factory):
    """The experiment of a training that ran through."""
    exp = tmp_path_factory.mktemp("uninterrupted")
    assert train(tiny_data, exp, **OPTIONS) == [0]
    return exp


@pytest.mark.parametrize(
    "accident, exit_code, epochs_done",
    [
        (kill_in_the_middle_of_epoch_2, -signal.SIGKILL, 1),
        (kill_while_checkpoint_2_is_written, -signal.SIGKILL, 1),
        (kill_between_checkpoint_2_and_its_model, -signal.SIGKILL, 2),
        (fill_the_disk_in_epoch_2, 1, 1),
    ],
)
def test_resumed_equals_uninterrupted(tiny_data, uninterrupted, tmp_path, accident, exit_code, epochs_done):
    """After the accident the last checkpoint is whole; the same command ends with equal epochs and weights.

    Epochs that were done aren't trained again: their statistics, times included, are those of before.
    """
    assert train(tiny_data, tmp_path, accident, **OPTIONS) == [exit_code]
    before = load(tmp_path / "checkpoint.pth")["reporter"]
    assert before["epoch"] == epochs_done
    assert train(tiny_data, tmp_path, **OPTIONS) == [0]
    assert_same(tmp_path, uninterrupted, before)


def test_two_processes_resume_where_they_were(tiny_data, tmp_path):
    """The other process ends when one is killed; both together go on as if nothing had been."""
    expected, exp = tmp_path / "expected", tmp_path / "exp"
    assert train(tiny_data, expected, processes=2, **OPTIONS) == [0, 0]
    killed, other = train(tiny_data, exp, kill_in_the_middle_of_epoch_2, processes=2, **OPTIONS)
    assert killed == -signal.SIGKILL and other != 0
    before = load(exp / "checkpoint.pth")["reporter"]
    assert before["epoch"] == 1
    assert train(tiny_data, exp, processes=2, **OPTIONS) == [0, 0]
    assert_same(exp, expected, before)


def assert_same(resumed_in: Path, expected_in: Path, before: dict) -> None:
    """Both experiments hold the same, the first also what the killed training had reported before."""
    assert model_files(resumed_in) == model_files(expected_in)
    assert [path.name for path in resumed_in.glob(".*")] == [".training"]
    resumed, expected = load(resumed_in / "checkpoint.pth"), load(expected_in / "checkpoint.pth")
    stats = resumed["reporter"]["stats"]
    assert list(stats) == list(range(1, EPOCHS + 1))
    assert {epoch: stats[epoch] for epoch in before["stats"]} == before["stats"]
    torch.testing.assert_close(resumed["model"], expected["model"], atol=0, rtol=0)
    for name in ("valid.loss.best.pth", "valid.loss.ave.pth", "latest.pth"):
        assert (resumed_in / name).readlink() == (expected_in / name).readlink()
        torch.testing.assert_close(load(resumed_in / name), load(expected_in / name), atol=0, rtol=0)


def model_files(exp: Path) -> set[str]:
    """The names of the checkpoint and of all models."""
    return {path.name for path in exp.glob("*.pth")}


def load(path: Path) -> dict:
    """What torch.save wrote."""
    return torch.load(path, weights_only=False)


def test_disk_full_leaves_the_file_and_says_what_to_do(tmp_path, monkeypatch):
    """ENOSPC after a part was written: the old file stays, no part is left, the error says what to do."""
    from imlspike.espnet.worker import atomic_torch_save

    path = tmp_path / "checkpoint.pth"
    with atomic_torch_save():
        torch.save({"epoch": 1}, path)

    def full(obj, f):
        f.write(b"part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    message = r"checkpoint.pth \(\d+ MB free\).*No space left.*run the same command again"
    with atomic_torch_save(), pytest.raises(OSError, match=message):
        torch.save({"epoch": 2}, path)
    assert torch.save is full
    assert load(path) == {"epoch": 1} and os.listdir(tmp_path) == ["checkpoint.pth"]
