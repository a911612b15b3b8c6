"""Speech2Text opens a recogniser, and its language model, from wherever they lie."""

import shutil
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike import Speech2Text  # noqa: E402
from imlspike.espnet.decode import JointDecoder  # noqa: E402
from imlspike.espnet.experiment import find_experiment  # noqa: E402
from tests.inference.conftest import MODEL  # noqa: E402


def move(experiment: Path, to: Path) -> Path:
    """The experiment elsewhere, while what its config.yaml names is gone."""
    shutil.copytree(experiment, to)
    config = yaml.safe_load((to / "config.yaml").read_text())
    config["normalize_conf"]["stats_file"] = "/gone/feats_stats.npz"
    (to / "config.yaml").write_text(yaml.safe_dump(config))
    return to


def test_a_moved_experiment(experiment, waves, expected, tmp_path):
    assert Speech2Text.from_pretrained(move(experiment, tmp_path / "moved"))(waves) == expected


def test_the_folder_of_a_recipe(recipe, experiment):
    """Neither its language model nor an experiment that was only begun is taken for the recogniser."""
    for path in (recipe, recipe / "exp", experiment):
        assert find_experiment(path).config == experiment / "config.yaml"
        assert find_experiment(path).model == experiment / MODEL


@pytest.mark.parametrize("cached", [True, False])
def test_a_zip_of_espnet(experiment, waves, expected, tmp_path, monkeypatch, cached, capsys):
    """Packed, taken elsewhere, unpacked once; another content under the same name is unpacked anew."""
    from espnet2.main_funcs.pack_funcs import pack

    moved = move(experiment, tmp_path / "exp")
    monkeypatch.chdir(moved)
    files, archive = {"asr_model_file": MODEL}, tmp_path / "model.zip"
    yaml_files, option = {"asr_train_config": "config.yaml"}, ["feats_stats.npz"]
    pack(files=files, yaml_files=yaml_files, option=option, outpath=archive)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(moved)
    cache = tmp_path / "cache" if cached else None
    assert Speech2Text.from_pretrained(archive, cache_dir=cache)(waves) == expected
    if cached:
        (folder,) = cache.iterdir()
        before = (folder / MODEL).stat()
        assert find_experiment(archive, cache_dir=cache).model == folder / MODEL
        assert (folder / MODEL).stat() == before
        with zipfile.ZipFile(archive, "a") as more:
            more.writestr("README.md", "a model card")
        assert find_experiment(archive, cache_dir=cache).model.parent != folder


def test_a_zipped_folder(experiment, tmp_path):
    shutil.make_archive(tmp_path / "a", "zip", experiment.parent, "tiny")
    found = find_experiment(tmp_path / "a.zip", cache_dir=tmp_path / "cache")
    assert found.model.name == MODEL and found.config.parent.name == "tiny"


def asked(monkeypatch) -> None:
    """Opens no model, but keeps which language model it was asked for."""

    class Asked(JointDecoder):
        def __init__(self, config, model, device="cpu", lm_config=None, lm_file=None, lm_weight=0.0):
            self.lm, self.sampling_rate = (lm_config, lm_file, lm_weight), 16000

    monkeypatch.setattr("imlspike.espnet.decode.JointDecoder", Asked)


def test_the_language_model_of_a_recipe(recipe, experiment, tmp_path, monkeypatch):
    """The only one beside the experiment, once a weight is given; or the one that is named."""
    asked(monkeypatch)
    files = (recipe / "exp/lm/config.yaml", recipe / "exp/lm" / MODEL)
    assert Speech2Text.from_pretrained(recipe, "joint").decoder.lm == (None, None, 0.0)
    assert Speech2Text.from_pretrained(recipe, "joint", lm_weight=0.3).decoder.lm == (*files, 0.3)
    shutil.copytree(recipe, tmp_path / "r")
    shutil.copytree(tmp_path / "r/exp/lm", tmp_path / "r/exp/lm_other")
    shutil.copytree(tmp_path / "r/exp/lm", tmp_path / "r/exp/lm_begun")
    (tmp_path / "r/exp/lm_begun" / MODEL).unlink()
    with pytest.raises(ValueError, match="several language models.*exp/lm, .*exp/lm_other$"):
        Speech2Text.from_pretrained(tmp_path / "r", "joint", lm_weight=0.3)
    other = tmp_path / "r/exp/lm_other"
    opened = Speech2Text.from_pretrained(tmp_path / "r", "joint", lm_weight=0.3, lm=other)
    assert opened.decoder.lm == (other / "config.yaml", other / MODEL, 0.3)
    for name in ("lm_begun", "tiny", "none"):
        with pytest.raises(
            ValueError, match=f"exp/{name}.*(no such model|expected the experiment of a lang)"
        ):
            Speech2Text.from_pretrained(recipe, "joint", lm_weight=0.3, lm=tmp_path / "r/exp" / name)
    with pytest.raises(ValueError, match="unknown key 'lm'"):
        Speech2Text.from_pretrained(recipe, lm=other)


def test_without_a_language_model_a_weight_is_refused(experiment, tmp_path):
    move(experiment, tmp_path / "exp/tiny")
    with pytest.raises(ValueError, match="exp/tiny: no language model lies beside it .*without lm_weight"):
        Speech2Text.from_pretrained(tmp_path, "joint", lm_weight=0.3)
    meta = {"files": {"asr_model_file": MODEL}, "yaml_files": {"asr_train_config": "config.yaml"}}
    (tmp_path / "exp/tiny/meta.yaml").write_text(yaml.safe_dump(meta))
    with pytest.raises(ValueError, match="no language model is packed with it; decode without"):
        Speech2Text.from_pretrained(tmp_path / "exp/tiny", "joint", lm_weight=0.3)


def test_a_pack_with_a_language_model(experiment, tmp_path, monkeypatch):
    """Its files are found; they are used once a weight is given."""
    asked(monkeypatch)
    for name in ("config.yaml", MODEL):
        shutil.copy(experiment / name, tmp_path)
    meta = {"files": {"asr_model_file": MODEL, "lm_file": "lm/lm.pth"}}
    meta["yaml_files"] = {"asr_train_config": "config.yaml", "lm_train_config": "lm/config.yaml"}
    (tmp_path / "meta.yaml").write_text(yaml.safe_dump(meta))
    with pytest.raises(ValueError, match="names .*lm/config.yaml, which isn't there"):
        find_experiment(tmp_path)
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm/lm.pth").touch()
    (tmp_path / "lm/config.yaml").touch()
    files = (tmp_path / "lm/config.yaml", tmp_path / "lm/lm.pth")
    assert Speech2Text.from_pretrained(tmp_path, "joint").decoder.lm == (None, None, 0.0)
    assert Speech2Text.from_pretrained(tmp_path, "joint", lm_weight=0.3).decoder.lm == (*files, 0.3)


def test_a_name_on_the_hub(experiment, waves, expected, tmp_path, monkeypatch):
    """It is fetched by huggingface_hub, here a stub; where that is absent or fails, the message says so."""
    asked = []

    def snapshot_download(name, cache_dir=None):
        asked.append((name, cache_dir))
        if name != "someone/tiny":
            raise OSError("404")
        return str(experiment)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    assert Speech2Text.from_pretrained("someone/tiny", cache_dir="kept")(waves[:1]) == expected[:1]
    assert asked == [("someone/tiny", "kept")]
    with pytest.raises(ValueError, match=r"someone/other: no such .*hub \(404\); expected an experiment"):
        Speech2Text.from_pretrained("someone/other")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="someone/tiny: no such file or folder.*pip install huggingface_hub"):
        Speech2Text.from_pretrained("someone/tiny")


def test_a_wrong_path_never_asks_the_hub(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace())
    for path in ("exp/tniy", "nowhere", "/a/b", "../a"):
        with pytest.raises(
            ValueError, match=f"^{path}: no such file or folder; expected an experiment .*OWNER"
        ):
            Speech2Text.from_pretrained(path)


def test_what_is_no_recogniser_is_named(recipe, experiment, tmp_path):
    with pytest.raises(ValueError, match=r"no trained recogniser here \(there is nothing\); expected"):
        find_experiment(tmp_path)
    with pytest.raises(ValueError, match=f"{recipe}/exp/begun/{MODEL}: no such model; there is no .pth file"):
        find_experiment(recipe / "exp/begun")
    with pytest.raises(ValueError, match=f"best.pth: no such model; there is {MODEL}"):
        find_experiment(experiment, model_file="best.pth")
    (tmp_path / "a.zip").write_text("no zip")
    with pytest.raises(ValueError, match="a.zip: not a zip file; expected"):
        find_experiment(tmp_path / "a.zip")
    shutil.copytree(experiment, tmp_path / "exp/one")
    shutil.copytree(experiment, tmp_path / "exp/two")
    with pytest.raises(ValueError, match="several recognisers, name one of them: .*exp/one, .*exp/two"):
        find_experiment(tmp_path)


def test_a_damaged_zip_leaves_nothing(experiment, tmp_path):
    shutil.make_archive(tmp_path / "a", "zip", experiment)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[1000:1100] = bytes(100)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match="a.zip: damaged"):
        find_experiment(tmp_path / "a.zip", cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
