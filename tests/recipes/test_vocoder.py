"""The vocoders' recipes: configurations, options, and one in full."""

import json
import shutil
from pathlib import Path

import pytest
import soundfile
import yaml

pytest.importorskip("lightning", reason="Lightning isn't installed (extra: vocoder)")

from imlspike.recipes.vocoder import read_config  # noqa: E402
from tests.recipes.corpora import make_libritts  # noqa: E402
from tests.recipes.corpus import write_corpus  # noqa: E402
from tests.recipes.fakes import EGS, HERE, Programs, run, table, use_forks  # noqa: E402

BASE, OVERRIDES = EGS / "libritts/voc1/conf/train_vocos.yaml", EGS.parent / "conf/voc"
# Table 1: its rows, and what each is.
TABLE_1 = {
    "ann": ("none", None, "off", None),
    "plif8": ("plif", 8, "off", None),
    "plif": ("plif", 4, "off", None),
    "tsm": ("plif", 4, "fixed", None),
    "kd": ("plif", 4, "off", "exp/ann"),
    "tsm_kd": ("plif", 4, "fixed", "exp/ann"),
}


@pytest.mark.parametrize("name", TABLE_1)
def test_each_row_of_table_1_has_its_configuration(name):
    config = read_config(name, ["--config", str(BASE), "--config", str(OVERRIDES / f"{name}.yaml")])
    own = config["generator"]
    steps = None if own["neuron"] == "none" else own["steps"]
    assert (own["neuron"], steps, own["temporal_shift"], config["teacher"]) == TABLE_1[name]
    assert (own["sampling_rate"], own["n_fft"], own["hop_length"], own["n_mels"]) == (24000, 1024, 256, 100)
    assert [own[key] for key in ("dim", "intermediate_dim", "num_layers")] == [512, 1536, 8]  # 13.53 M
    assert own["shift_alpha"] == 0.5 and own["amplitude_shortcut"] == "abs"
    assert (config["trainer"]["steps"], config["trainer"]["pretrain_steps"]) == (1_000_000, 0)
    assert (config["data"]["batch_size"], config["data"]["crop_samples"]) == (16, 16384)
    assert config["optimizer"]["lr"] == 5e-4 and tuple(config["optimizer"]["betas"]) == (0.9, 0.999)
    losses = config["losses"]
    weights = [losses[key] for key in ("mel", "mrd", "feature_weight", "output_weight")]
    assert weights == [45, 0.1, 40, 10]


def msu(work: Path, words: str = "") -> int:
    """The recipe on seconds of tones, with a second voice that is there already."""
    given = f"--corpus_dir {work.parent}/corpus --max_left_out 0.2 --models kd --test_utts 1"
    given += f" --config {HERE}/tiny_voc.yaml --extra_train more --score_args '--measures mcd mel_l1'"
    return run("msu_ru_nsh/voc1", work, f"{given} {words}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--model kd", "did you mean --models?"),
        ("--models tms", "there is no"),
        ("--models ann", "ann is trained by --ann true"),
        ("--models= --ann false", "no model"),
        ("--config nowhere.yaml", "--config: there is no nowhere.yaml"),
        ("--asr_model nowhere", "--asr_model: there is no nowhere"),
        ("--train_args lr=1", "'lr=1' is no setting"),
        ("--train_args generator.dimm=8", "did you mean 'dim'?"),
        ("--steps many", "--steps is 'many'"),
        ("--resume maybe", "expected one of: true false anyway"),
    ],
)
def test_a_wrong_option_stops_before_anything_is_made(refused, options, message):
    assert message in refused("msu_ru_nsh/voc1", options)


def test_models_of_other_features_and_unknown_sets_are_refused(tmp_path, capsys, monkeypatch):
    write_corpus(tmp_path / "corpus")
    (tmp_path / "ann.yaml").write_text("generator: {neuron: none, n_mels: 10}")
    (tmp_path / "kd.yaml").write_text("generator: {neuron: plif}")
    assert msu(tmp_path / "work", f"--overrides {tmp_path}") == 2
    assert "kd has n_mels=20, ann 10" in capsys.readouterr().err
    Programs(monkeypatch)
    assert msu(tmp_path / "work", "--extra_train nobody --stop_stage 1") == 1
    assert "there is no data/nobody/utt2dur" in capsys.readouterr().err
    assert msu(tmp_path / "work", "--extra_train= --stage 4") == 1
    assert "which stage 2 (removal of what is too long or too short) makes" in capsys.readouterr().err


def test_all_train_parts_of_libritts_are_used_as_they_lie(tmp_path, monkeypatch):
    Programs(monkeypatch)
    parts = {
        "train-clean-100": 3,
        "train-clean-360": 2,
        "train-other-500": 2,
        "dev-clean": 2,
        "test-clean": 2,
    }
    make_libritts(tmp_path / "corpus", parts)
    options = f"--corpus_dir {tmp_path}/corpus --ngpu 0 --stop_stage 2 --models plif8"
    assert run("libritts/voc1", tmp_path / "work", options) == 0
    used = table(tmp_path / "work/dump/limited/train_960/wav.scp")
    assert len(used) == 7 and all("corpus/LibriTTS/train-" in wav for wav in used.values())
    text = table(tmp_path / "work/data/test_clean/text")
    assert all(line.endswith(".") for line in text.values()) and len(text) == 2


@pytest.mark.timeout(600)
def test_the_ann_and_a_taught_model_in_full(tmp_path, capfd, monkeypatch):
    use_forks(monkeypatch)
    write_corpus(tmp_path / "corpus")
    work = tmp_path / "with a blank"
    folder = work / "data" / "more"
    folder.mkdir(parents=True)
    samples, rate = soundfile.read(tmp_path / "corpus/wav/ru_0001.wav")
    soundfile.write(tmp_path / "a.wav", samples, rate // 2)  # blanks in paths are for the recipe's own files
    tables = {"wav.scp": tmp_path / "a.wav", "text": "", "utt2spk": "s", "utt2dur": 2 * len(samples) / rate}
    for name, value in tables.items():
        (folder / name).write_text(f"s-a {value}".rstrip() + "\n")
    assert msu(work) == 0
    told = capfd.readouterr().out
    for name in ("ann", "kd"):
        config = yaml.safe_load((work / "exp" / name / "config.yaml").read_text())
        assert config["train_dirs"] == ["dump/limited/train", "dump/limited/more"]
        assert config["teacher"] == (None if name == "ann" else "exp/ann")
        assert config["generator"]["neuron"] == ("none" if name == "ann" else "plif")
        assert f"  {name}: step 2, validation mel" in told
        (wav,) = (work / "exp" / name / "synthesis").glob("*.wav")
        natural = table(work / "data/test/wav.scp")[wav.stem]
        assert abs(soundfile.info(wav).frames - soundfile.info(natural).frames) <= 64
        assert json.loads((work / "exp" / name / "profile/energy.json").read_text())["utterances"] == 1
    for name, count in {"train": 20, "more": 1, "valid": 2}.items():
        wavs = table(work / f"dump/limited/{name}/wav.scp").values()
        assert len(wavs) == count and {soundfile.info(work / wav).samplerate for wav in wavs} == {16000}
    assert "ru_0027" in table(work / "dump/limited/train/excluded.tsv")
    scores = json.loads((work / "exp/scores/scores.json").read_text())
    assert list(scores["systems"]) == ["natural", "griffin_lim", "ann", "kd"] and scores["utterances"] == 1
    again = "--stage 3 --stop_stage 3 --train_args"
    shutil.rmtree(work / "exp/ann")
    assert msu(work, f"{again} trainer.max_time_minutes=1e-9") == 1, "half a training is no result"
    assert "exp/ann: the time was up at step 1 of 2" in capfd.readouterr().err
    assert msu(work, "--stage 3") == 0
    programs = Programs(monkeypatch)
    assert msu(work, f"{again} trainer.log_every=7") == 0 and programs.calls == [], "which changes no weight"
    assert msu(work, "--stage 3 --stop_stage 7") == 0 and programs.calls == []
    assert msu(work, "--stage 4 --stop_stage 4 --train_args optimizer.lr=0.1") == 1
    assert "optimizer.lr was" in capfd.readouterr().err and programs.calls == []
    assert msu(work, "--stage 4 --stop_stage 4 --models kd --ann false --resume false") == 0
    assert not (work / "exp/kd/synthesis").exists() and not (work / "exp/kd/profile").exists()
    assert (work / "exp/ann/synthesis").exists() and not (work / "exp/RESULTS.md").exists()
    assert msu(work, "--stage 8") == 1 and "scores.json, which stage 6" in capfd.readouterr().err
