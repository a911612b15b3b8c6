"""Trainings that end early, by the clock or by a kill, and go on: as if nothing had happened."""

import csv
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("lightning")

from imlspike.data.files import sole_training  # noqa: E402
from imlspike.data.yaml_file import ConfigError  # noqa: E402
from imlspike.training.log import TrainingLog  # noqa: E402
from imlspike.training.run import train  # noqa: E402
from imlspike.training.vocoder import VocoderTraining  # noqa: E402
from tests.training.tiny import config_for, in_forks, same  # noqa: E402


def last(exp):
    return torch.load(exp / "checkpoints" / "last.ckpt", weights_only=True)


def counts(exp):
    return [last(exp)["vocoder"][name] for name in ("step", "discriminator_steps")]


def assert_same_training(exp, other):
    """All that the next step would depend on is the same, bit for bit."""
    one, two = last(exp), last(other)
    assert same(one["state_dict"], two["state_dict"]) and counts(exp) == counts(other)
    for ours, theirs in zip(one["optimizer_states"], two["optimizer_states"], strict=True):
        assert ours["param_groups"] == theirs["param_groups"]
        assert ours["state"].keys() == theirs["state"].keys()
        assert all(same(ours["state"][index], theirs["state"][index]) for index in ours["state"])


def test_a_training_that_ran_out_of_time_goes_on_exactly(straight, data_dir, tmp_path):
    """It ends after each of its first steps; before the discriminators start, and between validations."""
    for step in (1, 2, 3):
        trained = train(config_for(data_dir, max_time_minutes=0.0), tmp_path)
        assert counts(tmp_path) == [step, max(0, step - 2)] and (tmp_path / "weights.safetensors").exists()
    before = last(tmp_path)["vocoder"]["seconds"]
    finished = train(config_for(data_dir), tmp_path)
    assert finished.step == 6 and last(tmp_path)["vocoder"]["seconds"] > before and trained.step == 3
    assert_same_training(straight[1], tmp_path)
    steps = [int(row["step"]) for row in csv.DictReader(open(tmp_path / "log.csv")) if row["generator"]]
    assert steps == [2, 4, 6]


def test_a_kill_while_the_checkpoint_is_written_leaves_the_one_before(straight, data_dir, tmp_path):
    """Files: best and last of step 4, then best or last of step 6, which is cut off."""
    save, count = torch.save, [0]

    def killing(obj, f, *args, **kwargs):
        count[0] += isinstance(obj, dict) and "optimizer_states" in obj
        if count[0] == 3:
            f.write(b"half a checkpoint")
            f.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return save(obj, f, *args, **kwargs)

    def killed(rank):
        torch.save = killing
        train(config_for(data_dir), tmp_path)

    assert in_forks(killed) == [-signal.SIGKILL] and counts(tmp_path)[0] == 4
    assert list((tmp_path / "checkpoints").glob(".*.tmp"))
    train(config_for(data_dir), tmp_path)
    assert_same_training(straight[1], tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_terminated_training_says_so_and_goes_on(straight, data_dir, tmp_path, monkeypatch):
    """Not with status 0, as if it were done."""
    told, steps = TrainingLog.on_train_batch_end, []

    def terminate(self, trainer, module, *rest):
        told(self, trainer, module, *rest)
        steps.append(module.step)
        if module.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrainingLog, "on_train_batch_end", terminate)
    with pytest.raises(InterruptedError, match="3 of 6"):
        train(config_for(data_dir), tmp_path)
    assert counts(tmp_path)[0] == 3 and steps == [1, 2, 3]
    monkeypatch.undo()
    train(config_for(data_dir), tmp_path)
    assert_same_training(straight[1], tmp_path)


@pytest.mark.parametrize("step", [4, 6])
def test_a_training_terminated_ahead_of_a_validation_has_it_when_it_goes_on(
    step, straight, data_dir, tmp_path, monkeypatch
):
    """That of its last step, too, which the bundle's weights come from."""
    told = TrainingLog.on_train_batch_end

    def terminate(self, trainer, module, *rest):
        told(self, trainer, module, *rest)
        if module.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrainingLog, "on_train_batch_end", terminate)
    with pytest.raises(InterruptedError):
        train(config_for(data_dir), tmp_path)
    monkeypatch.undo()
    train(config_for(data_dir), tmp_path)
    assert_same_training(straight[1], tmp_path)
    weights = [load_file(folder / "weights.safetensors") for folder in (straight[1], tmp_path)]
    assert same(*weights)
    assert {path.name for path in (tmp_path / "checkpoints").glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}


def test_checkpoints_between_validations(data_dir, tmp_path, monkeypatch):
    stop = lambda self, trainer, module, *rest: module.step < 3 or 1 / 0  # noqa: E731
    monkeypatch.setattr(TrainingLog, "on_train_batch_end", stop)
    with pytest.raises(ZeroDivisionError):
        train(config_for(data_dir, checkpoint_every=2), tmp_path)
    assert counts(tmp_path)[0] == 2


def test_the_best_checkpoint_is_that_of_the_smallest_distance(data_dir, tmp_path, monkeypatch):
    """The smallest of both runs of a training."""
    plain, distances = VocoderTraining.log, iter([3.0, 2.0, 2.5, 4.0, 1.0, 5.0])

    def log(module, name, value, **options):
        plain(module, name, next(distances) if name == "valid_mel" else value, **options)

    monkeypatch.setattr(VocoderTraining, "log", log)
    for resume, steps, best in (("auto", 3, 2), ("anyway", 4, 2), ("anyway", 6, 5)):
        train(config_for(data_dir, steps=steps, validate_every=1, pretrain_steps=9), tmp_path, resume)
        states = torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)
        assert states["vocoder"]["step"] == best and counts(tmp_path)[0] == steps


def test_a_finished_training_is_left_alone(straight):
    config, exp, _ = straight
    before = {path: path.stat().st_mtime_ns for path in exp.rglob("*") if path.suffix != ".log"}
    assert train(config, exp).step == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_two_processes_do_not_train_in_one_place(straight, data_dir, tmp_path):
    with sole_training(tmp_path), pytest.raises(ConfigError, match=str(tmp_path)):
        train(config_for(data_dir), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_another_configuration_is_refused_and_what_may_change_may(straight, tmp_path):
    config, exp, _ = straight
    start = str(exp / "checkpoints" / "last.ckpt")
    for changed, where, resume, key in (
        (replace(config, generator=config.generator | {"steps": 2}), exp, "auto", "generator.steps"),
        (config, exp, "never", str(exp)),
        (replace(config, generator=config.generator | {"dim": 12}), tmp_path, start, "last.ckpt"),
        (config, tmp_path, "never-ever", "never-ever"),
    ):
        with pytest.raises(ConfigError, match=key):
            train(changed, where, resume)
    train(replace(config, trainer=replace(config.trainer, log_every=5, max_time_minutes=3.0)), exp)


def test_a_checkpoint_of_another_experiment_is_where_to_start(straight, data_dir, tmp_path):
    """best.ckpt or last.ckpt elsewhere: its weights, its step, with a longer schedule."""
    train(config_for(data_dir, steps=7), tmp_path, resume=str(straight[1] / "checkpoints" / "last.ckpt"))
    assert counts(tmp_path) == [7, 5]
    with pytest.raises(ConfigError, match="trainer.steps"):
        train(config_for(data_dir, steps=8), tmp_path)
    assert train(config_for(data_dir, steps=8), tmp_path, resume="anyway").step == 8


def test_a_damaged_checkpoint_names_the_best_one(tmp_path):
    from imlspike.training.run import _restore

    (tmp_path / "last.ckpt").write_bytes(b"PK")
    (tmp_path / "best.ckpt").touch()
    with pytest.raises(ConfigError, match=r"last\.ckpt: damaged.*--resume .*best\.ckpt"):
        _restore(None, tmp_path / "last.ckpt")
