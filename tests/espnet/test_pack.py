"""Packing: what ESPnet unpacks and what a plain unzip leaves both name files that are there."""

import json
import zipfile
from pathlib import Path

import pytest
import yaml
from espnet2.main_funcs.pack_funcs import unpack

from imlspike.bin.pack import main
from imlspike.data.kaldi import Utterance, write_data_dir
from imlspike.espnet.pack import pack_recognizer
from imlspike.espnet.recognizer import read_args

TOKENS = ["<blank>", "<unk>", "▁да", "a", "<sos/eos>"]


@pytest.fixture
def exp(tmp_path) -> Path:
    """An experiment that was moved: its configuration names files where they no longer are."""
    folder = tmp_path / "exp" / "quick"
    folder.mkdir(parents=True)
    config = {
        "encoder": "iml_spikeformer",
        "decoder": "transformer",
        "token_type": "bpe",
        "token_list": TOKENS,
        "bpemodel": "dump/gone/bpe.model",
        "normalize_conf": {"stats_file": "/gone/exp/quick/feats_stats.npz"},
        "best_model_criterion": [["valid", "acc", "max"]],
        "seed": 7,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    (folder / "train.yaml").write_text("encoder: iml_spikeformer\n")
    (folder / "command").write_text("./run.sh --model quick\n")
    for name in ("bpe.model", "feats_stats.npz"):
        (folder / name).write_text(f"the {name}")
    (folder / "valid.acc.ave_2best.pth").write_text("the model")
    (folder / "valid.acc.ave.pth").symlink_to("valid.acc.ave_2best.pth")
    return folder


@pytest.fixture
def lm(tmp_path) -> Path:
    folder = tmp_path / "exp" / "lm"
    folder.mkdir()
    config = {"lm": "transformer", "bpemodel": "dump/gone/bpe.model", "token_list": TOKENS}
    config["best_model_criterion"] = [["valid", "loss", "min"]]
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "valid.loss.ave.pth").write_text("the language model")
    (folder / "bpe.model").write_text("the bpe.model")
    return folder


def unzipped_names_are_there(archive: Path, folder: Path) -> bool:
    """Whether imlspike finds what both configurations name where a zip was only unzipped."""
    zipfile.ZipFile(archive).extractall(folder)
    asr, lm = (vars(read_args(folder / name)) for name in ("config.yaml", "lm/config.yaml"))
    named = asr["bpemodel"], asr["normalize_conf"]["stats_file"], lm["bpemodel"]
    return all(Path(name).is_file() and folder in Path(name).parents for name in named)


def test_espnet_unpacks_it_with_every_path_set_right(exp, lm, tmp_path):
    (tmp_path / "decode.yaml").write_text("beam_size: 3\n")
    archive = tmp_path / "out" / "quick.zip"
    names = pack_recognizer(
        exp / "config.yaml",
        exp / "valid.acc.ave.pth",
        archive,
        lm=(lm / "config.yaml", lm / "valid.loss.ave.pth"),
        extra={"decode.yaml": tmp_path / "decode.yaml"},
    )
    assert [path.name for path in archive.parent.iterdir()] == ["quick.zip"], "nothing is left beside it"
    files = unpack(archive, tmp_path / "there")
    assert files.keys() == {"asr_model_file", "asr_train_config", "lm_file", "lm_train_config"}
    assert Path(files["asr_model_file"]).read_text() == "the model"
    assert Path(files["lm_file"]).read_text() == "the language model"
    config = yaml.safe_load(Path(files["asr_train_config"]).read_text(encoding="utf-8"))
    assert Path(config["bpemodel"]).read_text() == "the bpe.model"
    assert Path(config["normalize_conf"]["stats_file"]).read_text() == "the feats_stats.npz"
    assert config["token_list"] == TOKENS
    lm_config = yaml.safe_load(Path(files["lm_train_config"]).read_text(encoding="utf-8"))
    assert Path(lm_config["bpemodel"]).read_text() == "the bpe.model"
    assert unzipped_names_are_there(archive, tmp_path / "unzipped")
    unpacked = {str(path.relative_to(tmp_path / "there")) for path in (tmp_path / "there").rglob("*.*")}
    assert set(names) == unpacked
    assert (tmp_path / "there/tokens.txt").read_text(encoding="utf-8").split("\n")[:-1] == TOKENS


def test_the_model_card_tells_what_it_is_where_from_and_how_good(exp, tmp_path):
    counts = {"rate": 0.125, "ci95": [0.1, 0.2]}
    score = {"cer": counts, "wer": counts | {"rate": 0.5}, "characters_include_space": True, "missing": []}
    (exp / "decode_joint/test").mkdir(parents=True)
    (exp / "decode_joint/test/score.json").write_text(json.dumps(score))
    utterances = [Utterance(f"u{i}", f"{i}.wav", "да", "s", 900.0) for i in range(6)]
    write_data_dir(tmp_path / "train", utterances)
    options = {"--output": tmp_path / "quick.zip", "--train-dir": tmp_path / "train", "--primary": "wer"}
    options |= {"--corpus": "read by one man, BSD", "--license": "cc-by-4.0"}
    assert main([str(exp), *(str(word) for option in options.items() for word in option)]) == 0
    with zipfile.ZipFile(tmp_path / "quick.zip") as archive:
        card = archive.read("README.md").decode()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "cc-by-4.0" and "spiking-neural-network" in head["tags"]
    for text in (
        "IML-Spikeformer (spiking) encoder, Transformer decoder",
        "5 tokens (bpe)",
        "Data: read by one man, BSD",
        "Trained on 6 utterances, 1.5 hours",
        "50.0 (10.0 to 20.0)",
        "- command: `./run.sh --model quick`",
        "- seed: 7",
        "- git: ",
        "encoder: iml_spikeformer",
    ):
        assert text in card


def test_what_is_missing_is_named_and_an_old_file_stays(exp, tmp_path, capsys):
    archive = tmp_path / "quick.zip"
    archive.write_text("the old one")
    (exp / "feats_stats.npz").unlink()
    assert main([str(exp), "--output", str(archive)]) == 1
    assert "stats_file" in capsys.readouterr().err
    assert archive.read_text() == "the old one"
    assert not list(tmp_path.glob(".pack*"))
