"""YAML sections, files over files, settings over both; wrong keys."""

import pytest
import yaml

pytest.importorskip("jsonargparse")

from imlspike.bin.train_vocoder import main  # noqa: E402
from imlspike.data.yaml_file import ConfigError, write_yaml  # noqa: E402
from imlspike.training.config import check_same, read_config  # noqa: E402

BASE = "--exp-dir exp --train-dir data/train data/more --valid-dir data/valid".split()
MODEL = """
generator: {dim: 64, num_layers: 2, neuron_conf: {tau: 2.0}}
discriminators: {mpd: {channels: [4, 8]}, mrd: {bands: [0.0, 0.5, 1.0]}}
optimizer: {lr: 1e-3, betas: [0.8, 0.9]}
data: {gain_db: [-6, -1]}
"""


@pytest.fixture
def files(tmp_path):
    """Two files, the second of which says only what differs."""
    (tmp_path / "model.yaml").write_text(MODEL)
    (tmp_path / "small.yaml").write_text("generator: {dim: 32}\ndiscriminators: {mrd: {channels: 8}}\n")
    return [str(tmp_path / "model.yaml"), str(tmp_path / "small.yaml")]


def test_later_files_win_and_settings_win_wherever_they_stand(files, tmp_path):
    first, second = files
    argv = ["generator.num_layers=3", "--config", first, f"--config={second}", *BASE, "--trainer.steps=7"]
    config, options = read_config([*argv, "generator.neuron_conf.alpha=3.5"])
    told, plain = config.generator, config.as_dict()
    assert (told["dim"], told["num_layers"], told["neuron_conf"]) == (32, 3, {"tau": 2.0, "alpha": 3.5})
    assert plain["discriminators"] == {
        "mpd": {"periods": [2, 3, 5, 7, 11], "channels": [4, 8]},
        "mrd": {"fft_sizes": [2048, 1024, 512], "channels": 8, "bands": [0.0, 0.5, 1.0]},
    }
    assert (config.optimizer.lr, plain["optimizer"]["betas"], config.trainer.steps) == (1e-3, [0.8, 0.9], 7)
    assert plain["data"]["gain_db"] == [-6.0, -1.0]
    assert config.train_dirs == ["data/train", "data/more"] and config.teacher is None
    assert options == {"exp_dir": "exp", "resume": "auto"}
    assert read_config([*BASE, f"--config={second}", f"--config={first}"])[0].generator["dim"] == 64
    (tmp_path / "imls.yaml").write_text("generator: {neuron: imls}\n")
    config, _ = read_config([*BASE, f"--config={first}", f"--config={tmp_path}/imls.yaml"])
    assert not config.generator["neuron_conf"]


def test_defaults_are_the_papers_and_vocoss():
    config, _ = read_config(BASE)
    assert [config.generator[key] for key in ("sampling_rate", "dim", "steps")] == [24000, 512, 4]
    assert (config.losses.mel, config.losses.mrd, config.losses.feature_matching) == (45, 0.1, 1)
    assert (config.optimizer.lr, tuple(config.optimizer.betas)) == (5e-4, (0.9, 0.999))
    assert (config.data.batch_size, config.data.crop_samples, config.trainer.steps) == (16, 16384, 10**6)


def test_the_config_of_an_experiment_can_be_given_again(files, tmp_path):
    config, _ = read_config([*BASE, "--config", files[0], "--teacher", "exp/ann", "trainer.seed=3"])
    write_yaml(tmp_path / "config.yaml", config.as_dict() | {"run": {"command": "x"}})
    again, options = read_config(["--config", str(tmp_path / "config.yaml"), "--exp-dir", "other"])
    assert again.as_dict() == config.as_dict() and options["exp_dir"] == "other"
    check_same(yaml.safe_load((tmp_path / "config.yaml").read_text()), again, "config.yaml")


def test_each_difference_that_matters_is_told():
    before, _ = read_config(BASE)
    now, _ = read_config([*BASE, "data.num_workers=3", "trainer.max_time_minutes=5", "trainer.log_every=1"])
    check_same(before.as_dict(), now, "config.yaml")
    now, _ = read_config([*BASE, "losses.mel=15", "discriminators.mpd.periods=[2,3]", "--teacher=exp/ann"])
    told = r"periods=\[2, 3, 5, 7, 11\], not \[2, 3\]; losses.mel=45.0, not 15.0; teacher=None, not exp/ann"
    with pytest.raises(ConfigError, match=told):
        check_same(before.as_dict(), now, "config.yaml")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("generator: {dimm: 3}", "'dim'"),
        ("optimiser: {lr: 3}", "'optimizer'"),
        ("discriminators: {mpd: {period: [2]}}", "'periods'"),
        ("data: 3", "data is 3"),
        ("- a", "list"),
        ("a: [", "YAML"),
    ],
)
def test_a_wrong_file_is_named_with_the_nearest_key(tmp_path, text, key):
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"^{tmp_path}/wrong.yaml.*{key}"):
        read_config([*BASE, "--config", str(tmp_path / "wrong.yaml")])


WRONG = "trainer.step=5 --losses.mell=5 generator.dim=wide data.short=cut trainer.steps=0 --config=x --quick"


@pytest.mark.parametrize("word", WRONG.split())
def test_wrong_words_end_the_command_with_a_message(capsys, tmp_path, word):
    assert main([*BASE, "--exp-dir", str(tmp_path), word]) == 1
    error = capsys.readouterr().err
    assert word.partition("=")[0].removeprefix("--") in error or word == "--config=x" and "x: " in error
    assert error.count("\n") <= 2 and not list(tmp_path.iterdir())


def test_missing_options_and_data_end_the_command(capsys, tmp_path):
    assert main(BASE[:-2]) == 1 and "--valid-dir" in capsys.readouterr().err
    small = ["generator.dim=8", "discriminators.mpd.channels=[2,2]", "discriminators.mrd.channels=2"]
    where = ["--exp-dir", str(tmp_path / "exp"), "--train-dir", "none", "--valid-dir", "none"]
    assert main([*where, *small]) == 1
    said = capsys.readouterr().err
    assert "none" in said and "wav.scp" in said
