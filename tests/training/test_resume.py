"""Trainings that end early, by the clock or by a kill, and go on: as if nothing had happened."""

import csv
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

pytest.importorskip("lightning")

from imlspike.data.files import sole_training  # noqa: E402
from imlspike.data.yaml_file import ConfigError  # noqa: E402
from imlspike.training.log import TrainingLog  # noqa: E402
from imlspike.training.run import train  # noqa: E402
from tests.training.tiny import config_for, same, write_tones  # noqa: E402


def last(exp):
    return torch.load(exp / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_training(exp, other):
    """All that the next step would depend on is the same, bit for bit."""
    one, two = last(exp), last(other)
    assert same(one["state_dict"], two["state_dict"])
    for ours, theirs in zip(one["optimizer_states"], two["optimizer_states"], strict=True):
        assert ours["param_groups"] == theirs["param_groups"]
        assert ours["state"].keys() == theirs["state"].keys()
        assert all(same(ours["state"][index], theirs["state"][index]) for index in ours["state"])
    counts = ("step", "discriminator_steps")
    assert [one["vocoder"][name] for name in counts] == [two["vocoder"][name] for name in counts]


def test_a_training_that_ran_out_of_time_goes_on_exactly(straight, data_dir, tmp_path):
    """It ends after each of its first steps; before the discriminators start, and between validations."""
    _, exp, _ = straight
    hurried = config_for(data_dir, max_time_minutes=0.0)
    for step in (1, 2, 3):
        trained = train(hurried, tmp_path)
        assert (trained.step, trained.discriminator_steps) == (step, max(0, step - 2))
        assert last(tmp_path)["vocoder"]["step"] == step and (tmp_path / "weights.safetensors").exists()
    before = trained.seconds
    finished = train(config_for(data_dir), tmp_path)
    assert finished.step == 6 and finished.seconds > before
    assert_same_training(exp, tmp_path)
    steps = [int(row["step"]) for row in csv.DictReader(open(tmp_path / "log.csv")) if row["generator"]]
    assert steps == [2, 4, 6]


@pytest.mark.timeout(600)
def test_a_kill_while_the_checkpoint_is_written_leaves_the_one_before(straight, repository, tmp_path):
    """Files: best and last of step 4, then best or last of step 6, which is cut off."""
    _, exp, _ = straight
    write_tones(tmp_path / "data")
    command = [sys.executable, "-m", "tests.training.tiny", str(tmp_path), "--kill", "3"]
    killed = subprocess.run(command, cwd=repository, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    assert last(tmp_path / "exp")["vocoder"]["step"] == 4
    assert list((tmp_path / "exp" / "checkpoints").glob(".*.tmp"))
    train(config_for(tmp_path / "data"), tmp_path / "exp")
    assert_same_training(exp, tmp_path / "exp")
    assert not list((tmp_path / "exp").rglob("*.tmp"))


def test_a_terminated_training_says_so_and_goes_on(straight, data_dir, tmp_path, monkeypatch):
    """Not with status 0, as if it were done."""
    _, exp, _ = straight
    told, step = TrainingLog.on_train_batch_end, []

    def terminate(self, trainer, module, *rest):
        told(self, trainer, module, *rest)
        step.append(module.step)
        if module.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrainingLog, "on_train_batch_end", terminate)
    with pytest.raises(InterruptedError, match="SIGTERM after step 3 of 6"):
        train(config_for(data_dir), tmp_path)
    assert last(tmp_path)["vocoder"]["step"] == 3 and step == [1, 2, 3]
    monkeypatch.undo()
    train(config_for(data_dir), tmp_path)
    assert_same_training(exp, tmp_path)


def test_a_finished_training_is_left_alone(straight):
    config, exp, trained = straight
    files = [
        exp / name for name in ("checkpoints/last.ckpt", "weights.safetensors", "config.yaml", "log.csv")
    ]
    before = [file.read_bytes() for file in files]
    again = train(config, exp)
    assert same(again.state_dict(), trained.state_dict()) and again.step == 6
    assert [file.read_bytes() for file in files] == before


def test_two_processes_do_not_train_in_one_place(straight, data_dir, tmp_path):
    with sole_training(tmp_path), pytest.raises(ConfigError, match=str(tmp_path)):
        train(config_for(data_dir), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_another_configuration_is_refused_and_what_may_change_may(straight, tmp_path):
    config, exp, _ = straight
    other = replace(config, generator=config.generator | {"steps": 2})
    with pytest.raises(ConfigError, match="began with generator.steps=None, not 2"):
        train(other, exp)
    with pytest.raises(ConfigError, match="holds a training already"):
        train(config, exp, resume="never")
    with pytest.raises(ConfigError, match=r"(?s)last.ckpt doesn't fit this configuration:.*size mismatch"):
        start = str(exp / "checkpoints" / "last.ckpt")
        train(replace(config, generator=config.generator | {"dim": 12}), tmp_path, resume=start)
    with pytest.raises(ConfigError, match="no such file"):
        train(config, tmp_path, resume="never-ever")
    train(replace(config, trainer=replace(config.trainer, log_every=5, max_time_minutes=3.0)), exp)


def test_a_checkpoint_of_another_experiment_is_where_to_start(straight, data_dir, tmp_path):
    """best.ckpt or last.ckpt elsewhere: its weights, its step, with a longer schedule."""
    _, exp, _ = straight
    trained = train(config_for(data_dir, steps=7), tmp_path, resume=str(exp / "checkpoints" / "last.ckpt"))
    assert trained.step == 7 and last(tmp_path)["vocoder"]["discriminator_steps"] == 5
    longer = config_for(data_dir, steps=8)
    with pytest.raises(ConfigError, match="trainer.steps=7, not 8.*--resume anyway"):
        train(longer, tmp_path)
    assert train(longer, tmp_path, resume="anyway").step == 8
