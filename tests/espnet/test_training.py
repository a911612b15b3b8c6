"""ESPnet's training here: killed, out of disk, in bf16 on the CPU, by two processes; it goes on exactly."""

import errno
import logging
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from imlspike.data.files import sole_training
from tests.espnet.tiny import train

EPOCHS, BATCHES = 3, 3
OPTIONS = {"max_epoch": EPOCHS, "resume": "true"}


def at_save(when: str, number: int):
    """An accident: SIGKILL while the checkpoint of that number is written, or "after" it."""

    def set_up(exp):
        save, count = torch.save, [0]

        def counting(obj, f, *args, **kwargs):
            if when == "after" and count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += "optimizers" in obj
            if when == "while" and count[0] == number:
                f.write(b"half a checkpoint")
                f.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return save(obj, f, *args, **kwargs)

        torch.save = counting

    return set_up


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
        (at_save("while", 2), -signal.SIGKILL, 1),
        (at_save("after", 2), -signal.SIGKILL, 2),  # 2epoch.pth is missing
        (fill_the_disk_in_epoch_2, 1, 1),
    ],
    ids=["epoch", "checkpoint", "model", "disk"],
)
def test_resumed_equals_uninterrupted(tiny_data, uninterrupted, tmp_path, accident, exit_code, epochs_done):
    """After the accident the last checkpoint is whole; the same command ends with the same."""
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
    """Both experiments hold the same, the first also what the killed training had reported."""
    assert {path.name for path in resumed_in.glob("*.pth")} == {p.name for p in expected_in.glob("*.pth")}
    assert [path.name for path in resumed_in.glob(".*")] == [".training"]
    resumed, expected = load(resumed_in / "checkpoint.pth"), load(expected_in / "checkpoint.pth")
    stats = resumed["reporter"]["stats"]
    assert list(stats) == list(range(1, EPOCHS + 1))
    assert {epoch: stats[epoch] for epoch in before["stats"]} == before["stats"]
    torch.testing.assert_close(resumed["model"], expected["model"], atol=0, rtol=0)
    for name in ("valid.loss.best.pth", "valid.loss.ave.pth", "latest.pth"):
        assert (resumed_in / name).readlink() == (expected_in / name).readlink()
        torch.testing.assert_close(load(resumed_in / name), load(expected_in / name), atol=0, rtol=0)


def load(path: Path) -> dict:
    return torch.load(path, weights_only=False)


def test_disk_full_leaves_the_file_and_says_what_to_do(tmp_path, monkeypatch):
    """ENOSPC after a part was written: the old file stays, no part is left."""
    from imlspike.espnet.worker import atomic_torch_save

    path = tmp_path / "checkpoint.pth"
    with atomic_torch_save():
        torch.save({"epoch": 1}, path)

    def full(obj, f):
        f.write(b"part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    with atomic_torch_save(), pytest.raises(OSError, match=f"{path} .*MB free"):
        torch.save({"epoch": 2}, path)
    assert torch.save is full
    assert load(path) == {"epoch": 1} and os.listdir(tmp_path) == ["checkpoint.pth"]


def test_no_training_starts_where_another_trains(tiny_data, tmp_path, capfd):
    with sole_training(tmp_path):
        assert train(tiny_data, tmp_path, max_epoch=1) == [1]
    assert str(tmp_path) in capfd.readouterr().err and not (tmp_path / "checkpoint.pth").exists()


def test_a_repair_leaves_the_log_to_espnet(uninterrupted, monkeypatch):
    """Python's logging sets itself up at a first warning, and ESPnet's lines would never be seen."""
    from imlspike.espnet.worker import repair_experiment

    model = uninterrupted / f"{EPOCHS}epoch.pth"
    model.unlink()
    monkeypatch.setattr(logging.root, "handlers", [])
    repair_experiment(uninterrupted, [["valid", "loss", "min"]])
    assert model.exists() and logging.root.handlers == []


def test_a_damaged_checkpoint_names_the_last_good_weights(uninterrupted, tmp_path):
    """Of two epochs, the second's file is damaged, too."""
    from imlspike.data.yaml_file import ConfigError
    from imlspike.espnet.worker import repair_experiment

    content = (uninterrupted / "checkpoint.pth").read_bytes()
    (tmp_path / "checkpoint.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(ConfigError, match=r"checkpoint\.pth: damaged.*train anew$"):
        repair_experiment(tmp_path, [])
    for epoch in (1, 2):
        weights = (uninterrupted / "valid.loss.ave.pth").read_bytes()
        (tmp_path / f"{epoch}epoch.pth").write_bytes(weights[: len(weights) // epoch])
    with pytest.raises(ConfigError, match=r"checkpoint\.pth: damaged.*--init_param .*/1epoch\.pth"):
        repair_experiment(tmp_path, [])


def test_use_amp_trains_in_bf16_on_the_cpu(tiny_data, uninterrupted, tmp_path):
    """ESPnet alone would train in fp32 and say nothing. The features stay in fp32, as they do on a GPU."""

    def note_dtypes(exp):
        from espnet2.layers.log_mel import LogMel

        def noting(forward, name):
            def noted(*args):
                out = forward(*args)
                with open(exp / "dtypes", "a") as file:
                    print(name, out[0].dtype if isinstance(out, tuple) else out.dtype, file=file)
                return out

            return noted

        for cls in (torch.nn.Conv2d, torch.nn.Linear, LogMel):
            cls.forward = noting(cls.forward, cls.__name__)

    assert train(tiny_data, tmp_path, note_dtypes, max_epoch=1, use_amp="true") == [0]
    noted = set((tmp_path / "dtypes").read_text().splitlines())
    assert noted == {"Conv2d torch.bfloat16", "Linear torch.bfloat16", "LogMel torch.float32"}
    one, other = (load(e / "checkpoint.pth")["reporter"]["stats"][1] for e in (uninterrupted, tmp_path))
    for part in ("train", "valid"):
        assert one[part]["loss"] != other[part]["loss"]
        assert other[part]["loss"] == pytest.approx(one[part]["loss"], rel=0.05)
    for name, parameter in load(tmp_path / "1epoch.pth").items():
        assert parameter.isfinite().all() and parameter.dtype != torch.bfloat16, name


def test_sums_in_fp64_do_not_depend_on_how_utterances_are_shared(tmp_path):
    """ESPnet's own loop over features that fp32 can't add; what is written for training stays fp32."""
    from espnet2.tasks import abs_task
    from espnet2.train.abs_espnet_model import AbsESPnetModel

    from imlspike.espnet.worker import sums_in_fp64

    class Model(AbsESPnetModel):
        forward = None

        def collect_feats(self, **batch):
            return {"feats": batch["speech"][:, None], "feats_lengths": torch.ones(3, dtype=torch.int)}

    batches = [(["a", "b", "c"], {"speech": torch.tensor([2.0**24, 1.0, 1.0])})]
    with sums_in_fp64():
        abs_task.collect_stats(Model(), batches, batches, tmp_path, 0, 10, True)
    assert np.load(tmp_path / "train/feats_stats.npz")["sum"].item() == 2.0**24 + 2
    assert np.load(tmp_path / "train/collect_feats/data_feats/a.npy").dtype == np.float32
