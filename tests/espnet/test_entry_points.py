"""Training and decoding through the entry points, with a tiny model on seconds of audio."""


import torch
import yaml


def test_two_gloo_processes_train_one_epoch(tiny_experiment):
    """The experiment holds what ESPnet's trainer leaves after an epoch, from a plain YAML with our key."""
    config = yaml.safe_load((tiny_experiment / "config.yaml").read_text())
    assert config["encoder"] == "iml_spikeformer"
    checkpoint = torch.load(tiny_experiment / "checkpoint.pth", weights_only=False)
    assert checkpoint["reporter"]["epoch"] == 1
    assert any(key.startswith("encoder.blocks.0.") for key in checkpoint["model"])
    assert not list(tiny_experiment.glob(".*"))
