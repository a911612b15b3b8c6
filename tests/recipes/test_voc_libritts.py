"""The vocoder recipe of LibriTTS from its parts to the report, on seconds of tones in its exact layout."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile
import yaml

pytest.importorskip("lightning", reason="Lightning isn't installed (extra: vocoder)")

from imlspike.models import SpikingVocos  # noqa: E402
from imlspike.training.config import read_config  # noqa: E402
from tests.recipes.corpora import make_libritts  # noqa: E402
from tests.recipes.running import EGS, HERE, finish, start, table  # noqa: E402

pytestmark = pytest.mark.timeout(3000)  # half a minute of work for one idle core
BASE = EGS / "libritts/voc1/conf/train_vocos.yaml"
OVERRIDES = EGS.parent / "conf/voc"
PARTS = {"train-clean-100": 3, "train-clean-360": 2, "train-other-500": 2, "dev-clean": 2, "test-clean": 2}
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
    argv = ["--config", str(BASE), "--config", str(OVERRIDES / f"{name}.yaml")]
    argv += ["--exp-dir", "exp", "--train-dir", "train", "--valid-dir", "valid"]
    config, _ = read_config(argv)
    own = config.generator
    steps = None if own["neuron"] == "none" else own["steps"]
    assert (own["neuron"], steps, own["temporal_shift"], config.teacher) == TABLE_1[name]
    assert (own["sampling_rate"], own["n_fft"], own["hop_length"], own["n_mels"]) == (24000, 1024, 256, 100)
    assert own["shift_alpha"] == 0.5 and own["amplitude_shortcut"] == "abs"
    assert (config.trainer.steps, config.trainer.pretrain_steps) == (1_000_000, 0)
    assert (config.data.batch_size, config.data.crop_samples) == (16, 16384)
    assert config.optimizer.lr == 5e-4 and tuple(config.optimizer.betas) == (0.9, 0.999)
    weights = config.losses
    assert (weights.mel, weights.mrd, weights.feature_weight, weights.output_weight) == (45, 0.1, 40, 10)


def test_the_ann_has_the_published_size():
    """13.53 M parameters."""
    ann = SpikingVocos(**{**yaml.safe_load(BASE.read_text())["generator"], "neuron": "none"})
    assert round(sum(p.numel() for p in ann.parameters()) / 1e6, 2) == 13.53


@dataclass
class Run:
    """Where the recipe ran, and what it printed."""

    work: Path
    printed: str


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("libritts")
    make_libritts(folder / "corpus", PARTS)
    options = ["--corpus_dir", folder / "corpus", "--models", "plif8", "--ann", "false", "--ngpu", "0"]
    options += ["--config", HERE / "tiny_voc.yaml", "--train_args", "generator.sampling_rate=24000"]
    options += ["--score_args", "--measures mel_l1"]
    return Run(folder / "work", finish(start("libritts/voc1", folder / "work", *options)))


def test_all_train_parts_are_used_as_they_lie_and_transcripts_are_kept(run):
    used = table(run.work / "dump/limited/train_960/wav.scp")
    assert len(used) == 7 and all("corpus/LibriTTS/train-" in wav for wav in used.values())
    assert {soundfile.info(wav).samplerate for wav in used.values()} == {24000}
    text = table(run.work / "data/test_clean/text")
    assert all(line.endswith(".") for line in text.values()) and len(text) == 2


def test_eight_steps_and_no_ann_come_to_a_table(run):
    config = yaml.safe_load((run.work / "exp/plif8/bundle.yaml").read_text())
    assert (config["model"]["steps"], config["features"]["sampling_rate"]) == (8, 24000)
    assert not (run.work / "exp/ann").exists()
    scores = json.loads((run.work / "exp/scores/scores.json").read_text())
    assert list(scores["systems"]) == ["natural", "griffin_lim", "plif8"] and scores["utterances"] == 2
