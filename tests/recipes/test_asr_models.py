"""Options of a recogniser's recipe that name other models: weights to begin with, language models, peers."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike.recipes.asr import find_teacher, join_texts  # noqa: E402
from imlspike.recipes.asr_options import Asr  # noqa: E402
from imlspike.recipes.options import ROOT, parse  # noqa: E402
from imlspike.recipes.training import select  # noqa: E402
from tests.recipes.fakes import HERE, Programs, words_of  # noqa: E402
from tests.recipes.test_asr import msu  # noqa: E402


@pytest.fixture
def programs(monkeypatch) -> Programs:
    return Programs(monkeypatch)


def test_a_training_begins_with_the_weights_of_the_same_model_elsewhere(programs, tmp_path, capsys):
    """And is refused once these are others."""
    work, first = tmp_path / "work", tmp_path / "first"
    (first / "tiny").mkdir(parents=True)
    (first / "tiny/a.pth").write_text("weights")
    words = f"--stop_stage 11 --pretrained_model {first}/{{name}}/a.pth:encoder:encoder"
    assert msu(work, words) == 0
    config = yaml.safe_load((work / "exp/tiny/run.yaml").read_text())
    assert config["init_param"] == [f"{first}/tiny/a.pth:encoder:encoder"]
    assert msu(work, words) == 0
    (first / "tiny/a.pth").write_text("others")
    assert msu(work, words) == 1 and f"{first}/tiny/a.pth has changed" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["quick", "full"])
def test_a_recipe_s_own_yamls_do_not_hide_the_project_s(model, monkeypatch):
    """speechocean762 has a conf/quick.yaml of its own, and ./run.sh starts a recipe in its folder."""
    monkeypatch.chdir(ROOT / "egs/speechocean762/asr1")
    options = Asr(**parse(Asr, words_of("speechocean762/asr1")[2:-1])[0] | {"model": model})
    options.check()
    assert options.configs[model]["scheduler"] and list(options.configs) == [
        *(model, f"{model}_relu", f"{model}_conformer")
    ]


def test_an_n_gram_and_a_neural_language_model_do_not_share_a_folder(programs, tmp_path, capsys):
    work, ngram = tmp_path / "work", f"--use_lm true --lm_config {ROOT}/conf/train_lm.yaml --lm_tag one"
    neural = f"--use_lm true --lm_config {HERE}/tiny_lm.yaml --lm_tag one"
    assert msu(work, f"{ngram} --stop_stage 9") == 0
    assert msu(work, f"{neural} --stop_stage 9") == 1
    assert "exp/lm_one holds a language model of another kind" in capsys.readouterr().err
    assert msu(work, f"{ngram} --stop_stage 9") == 0


def test_models_may_differ_in_augmentation_which_their_statistics_do_not_see(tmp_path):
    (tmp_path / "plain.yaml").write_text("frontend_conf: {augment: null, augment_after: 0}")
    base = f"{ROOT}/conf/quick.yaml"
    options = Asr(experiments=f"a:{base} b:{base}:{tmp_path}/plain.yaml", corpus="aishell")
    options.check()
    one, other = (select(config, "frontend") for config in options.configs.values())
    assert one == other and options.configs["a"]["frontend_conf"]["augment"]
    assert "augment" not in one["frontend_conf"] and one["frontend_conf"]["n_mels"] == 80


@pytest.mark.parametrize("file", ["setup.cfg", "exp/first"])
def test_a_teacher_is_a_file_of_the_project_or_one_of_the_work_folder(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {"model_conf": {"distill_from": file}}
    assert find_teacher(config) == {"setup.cfg": str(ROOT / "setup.cfg")}.get(file, file)
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text("one of the work folder's")
    assert find_teacher(config) == file and find_teacher({}) is None


def test_texts_of_a_language_model_without_a_last_line_end_stay_apart(tmp_path):
    (tmp_path / "a").write_text("a1 first of a\na2 last of a")
    (tmp_path / "b").write_text("b1 first of b\nb2\n")
    joined = join_texts([tmp_path / "a", tmp_path / "b"], str(tmp_path / "joined"))
    assert Path(joined).read_text() == "a1 first of a\na2 last of a\nb1 first of b\n"


def test_what_is_too_short_is_so_for_the_strongest_subsampling():
    def layer(*names):
        configs = {name: {"encoder_conf": {"input_layer": name}} for name in names}
        return Asr.input_layer.fget(SimpleNamespace(configs=configs))

    assert layer("conv2d", "conv2d2") == layer("conv2d2", "conv2d") == "conv2d"
    assert layer(None, "linear") == "linear" and layer(None, "conv2d2") == "conv2d2"
    assert layer("conv2d8", "linear", "conv2d6") == "conv2d8"
