"""Resolving a training YAML."""

import pytest
import yaml

from imlspike.bin.config import main
from imlspike.data.yaml_file import ConfigError, read_yaml, write_yaml
from imlspike.espnet.config import resolve
from tests.espnet.tiny import CONFIG

TWIN = """
encoder: transformer
encoder_conf: {output_size: 16, attention_heads: 2, linear_units: 32, num_blocks: 1}
"""


@pytest.fixture
def yamls(tmp_path):
    """A function that writes a YAML and returns its path; `base.yaml` and `twin.yaml` are there."""

    def write(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    write("base.yaml", CONFIG)
    write("twin.yaml", TWIN)
    return write


def test_twin_keeps_everything_but_the_encoder(yamls, tmp_path):
    """Overriding `encoder` replaces encoder_conf as a whole, earlier overrides included; the rest stays."""
    base = resolve(tmp_path / "base.yaml", set=["encoder_conf.kappa=0.3"])
    assert base["encoder_conf"] == yaml.safe_load(CONFIG)["encoder_conf"] | {"kappa": 0.3}
    kappa = yamls("kappa.yaml", "encoder_conf: {kappa: 0.3}")
    twin = resolve(tmp_path / "base.yaml", [kappa, tmp_path / "twin.yaml"])
    assert twin == yaml.safe_load(CONFIG) | yaml.safe_load(TWIN)


def test_mappings_merge_and_later_layers_win(yamls, tmp_path):
    """Files in order, then settings in order; a mapping merges key by key, a list is replaced."""
    criterion = "best_model_criterion: [[valid, acc, max]]"
    one = yamls("one.yaml", f"model_conf: {{ctc_weight: 0.5}}\nmax_epoch: 3\n{criterion}")
    two = yamls("two.yaml", "max_epoch: 4")
    config = resolve(tmp_path / "base.yaml", [one, two], ["max_epoch=5", "optim=adamw", "optim_conf.lr=2e-3"])
    assert config["model_conf"] == {"ctc_weight": 0.5, "lsm_weight": 0.1, "length_normalized_loss": False}
    assert config["best_model_criterion"] == [["valid", "acc", "max"]]
    assert config["max_epoch"] == 5 and config["optim_conf"] == {"lr": 0.002}


@pytest.mark.parametrize(
    "text, key",
    [
        ("max_epochs: 3", "'max_epoch'"),
        ("encoder_conf: {kapa: 1}", "'kappa'"),
        ("encoder: transformr", "'transformer'"),
        ("encoder: transformer\nencoder_conf: {kappa: 1}", "'kappa'"),
        ("decoder_conf: {num_block: 2}", "'num_blocks'"),
        ("optim_conf: {learning_rate: 1}", "'learning_rate'"),
        ("ctc_conf: {dropout: 0.1}", "'dropout_rate'"),
        ("scheduler_conf: {T_max: 3}", "scheduler_conf without scheduler"),
        ("encoder_conf: 3", "encoder_conf is 3"),
        ("max_epoch: 3\nmax_epoch: 4", "line 2: key 'max_epoch'"),
        ("- max_epoch", "list"),
        ("max_epoch: [", "YAML"),
    ],
)
def test_wrong_yaml_names_the_file_and_the_nearest_key(yamls, tmp_path, text, key):
    """Each mistake is an error before any training starts."""
    with pytest.raises(ConfigError, match=f"(?s)bad.yaml: .*{key}"):
        resolve(tmp_path / "base.yaml", [yamls("bad.yaml", text)])


def test_wrong_settings_and_files(yamls, tmp_path):
    for setting, key in (("encoder_conf.kapa=1", "'kappa'"), ("max_epoch", "max_epoch")):
        with pytest.raises(ConfigError, match=key):
            resolve(tmp_path / "base.yaml", set=[setting])
    with pytest.raises(ConfigError, match="none.yaml"):
        resolve(tmp_path / "none.yaml")


def test_numbers_survive_the_file(tmp_path):
    """Numbers that plain YAML readers, ESPnet's among them, would take for text, there and back."""
    values = {"a": 1e-3, "b": 5e-324, "c": 1e22, "d": -2.5e-7, "e": 3, "f": "3", "g": None, "h": True}
    write_yaml(tmp_path / "c.yaml", values)
    assert yaml.safe_load((tmp_path / "c.yaml").read_text()) == read_yaml(tmp_path / "c.yaml") == values
    (tmp_path / "d.yaml").write_text("a: 1e-3\nb: -2E5\nc: 1e\nd: 0x1e-3")
    assert read_yaml(tmp_path / "d.yaml") == {"a": 0.001, "b": -200000.0, "c": "1e", "d": "0x1e-3"}


def test_command_writes_or_prints_several_and_fails_in_one_line(yamls, tmp_path, capsys):
    """The command's file and its standard output are the same configuration; an error leaves no file."""
    arguments = [f"{tmp_path}/base.yaml", "--override", f"{tmp_path}/twin.yaml", "--set", "max_epoch=7"]
    assert main(arguments) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    base = [f"{tmp_path}/base.yaml", "--output", f"{tmp_path}/b.yaml"]
    assert main([*arguments, "--output", f"{tmp_path}/train.yaml", "--then", *base]) == 0
    assert printed == read_yaml(tmp_path / "train.yaml")
    assert printed["max_epoch"] == 7 and printed["encoder"] == "transformer"
    assert read_yaml(tmp_path / "b.yaml") == yaml.safe_load(CONFIG)
    capsys.readouterr()
    assert main([*arguments, "--set", "optimm=adam", "--output", f"{tmp_path}/bad.yaml"]) == 1
    assert "'optim'" in capsys.readouterr().err and not (tmp_path / "bad.yaml").exists()
