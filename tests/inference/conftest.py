"""A recognizer as a recipe leaves it, small and untrained, for tests of what opens it."""

import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from imlspike.espnet import register
from imlspike.inference import Bundle
from imlspike.inference.decoding import open_decoder
from imlspike.inference.language_model import RNNLanguageModel
from tests.espnet.tiny import CONFIG, TOKENS, tone

MODEL = "valid.loss.ave.pth"
SAID = ["ab ba", "aab", "b a", "abb ba b", "ba"]


def write_experiment(folder: Path, stats_file: Path) -> None:
    """An experiment as the recipes leave it, but untrained; large random weights in CTC make it talk."""
    register()
    from espnet2.tasks.asr import ASRTask

    np.savez(stats_file, count=10, sum=np.full(20, -30.0), sum_square=np.full(20, 300.0))
    config = vars(ASRTask.get_parser().parse_args([])) | yaml.safe_load(CONFIG)
    config |= {
        "normalize": "global_mvn",
        "normalize_conf": {"stats_file": str(stats_file)},
        "token_list": TOKENS,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(1)
    states = ASRTask.build_model(Namespace(**config)).state_dict()
    states["ctc.ctc_lo.weight"].normal_(std=10)
    torch.save(states, folder / MODEL)


def write_lm(folder: Path) -> None:
    """The experiment of a recurrent language model over the same tokens, lively."""
    conf, states = {"unit": 8, "nlayers": 2}, {}
    torch.manual_seed(3)
    model = RNNLanguageModel(len(TOKENS), **conf)
    states = {f"lm.{key}": torch.randn_like(state) for key, state in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    config = {"lm": "seq_rnn", "lm_conf": conf, "token_list": TOKENS}
    config["best_model_criterion"] = [["valid", "loss", "min"]]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save(states, folder / MODEL)


@pytest.fixture(scope="session")
def recipe(tmp_path_factory) -> Path:
    """A recipe's folder with one experiment, beside a language model and an experiment only begun."""
    folder = tmp_path_factory.mktemp("recipe")
    for name in ("tiny", "lm", "begun"):
        (folder / "exp" / name).mkdir(parents=True)
    write_experiment(folder / "exp/tiny", folder / "exp/tiny/feats_stats.npz")
    write_lm(folder / "exp/lm")
    shutil.copy(folder / "exp/tiny/config.yaml", folder / "exp/begun")
    return folder


@pytest.fixture(scope="session")
def experiment(recipe) -> Path:
    """The experiment's folder."""
    return recipe / "exp" / "tiny"


@pytest.fixture(scope="session")
def waves() -> list[np.ndarray]:
    """A few utterances of different lengths."""
    return [tone(text).astype(np.float32) for text in SAID]


@pytest.fixture(scope="session")
def expected(experiment, waves) -> list[str]:
    """What the decoder says to each utterance alone."""
    decoder = open_decoder(Bundle.load(experiment))
    texts = [decoder([torch.from_numpy(wave)])[0] for wave in waves]
    assert len(set(texts)) > 1
    return texts
