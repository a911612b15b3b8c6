"""What ESPnet's training does differently here: it locks its folder, and knows bf16 on the CPU."""

import logging

import pytest
import torch

from imlspike.data.files import sole_training
from tests.espnet.tiny import train


@pytest.fixture(scope="module")
def in_fp32(tiny_data, tmp_path_factory):
    """The experiment of a training of one epoch."""
    exp = tmp_path_factory.mktemp("in_fp32")
    assert train(tiny_data, exp, max_epoch=1) == [0]
    return exp


def test_no_training_starts_where_another_trains(tiny_data, tmp_path, capfd):
    with sole_training(tmp_path):
        assert train(tiny_data, tmp_path, max_epoch=1) == [1]
    assert f"another process is training in {tmp_path}" in capfd.readouterr().err
    assert not (tmp_path / "checkpoint.pth").exists()


def test_a_repair_leaves_the_log_to_espnet(in_fp32, monkeypatch):
    """Python's logging sets itself up at a first warning, and ESPnet's lines would never be seen."""
    from imlspike.espnet.worker import repair_experiment

    model = in_fp32 / "1epoch.pth"
    model.unlink()
    monkeypatch.setattr(logging.root, "handlers", [])
    repair_experiment(in_fp32, [["valid", "loss", "min"]])
    assert model.exists() and logging.root.handlers == []


def test_use_amp_trains_in_bf16_on_the_cpu(tiny_data, in_fp32, tmp_path):
    """ESPnet alone would train in fp32 and say nothing. The features stay in fp32, as they do on a GPU."""

    def note_dtypes(exp):
        from espnet2.layers.log_mel import LogMel

        for cls in (torch.nn.Conv2d, torch.nn.Linear, LogMel):
            cls.forward = noting(cls.forward, cls.__name__, exp / "dtypes")

    def noting(forward, name, notes):
        def noted(*args):
            out = forward(*args)
            with open(notes, "a") as file:
                print(name, out[0].dtype if isinstance(out, tuple) else out.dtype, file=file)
            return out

        return noted

    assert train(tiny_data, tmp_path, note_dtypes, max_epoch=1, use_amp="true") == [0]
    noted = set((tmp_path / "dtypes").read_text().splitlines())
    assert noted == {"Conv2d torch.bfloat16", "Linear torch.bfloat16", "LogMel torch.float32"}
    one, other = (epoch_1(exp) for exp in (in_fp32, tmp_path))
    for part in ("train", "valid"):
        assert one[part]["loss"] != other[part]["loss"]
        assert other[part]["loss"] == pytest.approx(one[part]["loss"], rel=0.05)
    models = [torch.load(exp / "1epoch.pth") for exp in (in_fp32, tmp_path)]
    assert all(parameter.isfinite().all() for parameter in models[1].values())
    assert {key: value.dtype for key, value in models[0].items()} == {
        key: value.dtype for key, value in models[1].items()
    }


def epoch_1(exp) -> dict:
    """ESPnet's statistics of the first epoch."""
    return torch.load(exp / "checkpoint.pth", weights_only=False)["reporter"]["stats"][1]
