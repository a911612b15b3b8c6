"""Every YAML of conf/ and egs/ for recognition: its keys are known, and what it describes can be built."""

import argparse
from inspect import signature
from pathlib import Path

import pytest
import torch

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from benchmarks.estimate import build  # noqa: E402
from imlspike.data.keys import constructor_keys  # noqa: E402
from imlspike.data.yaml_file import ConfigError, read_yaml  # noqa: E402
from imlspike.espnet.config import resolve  # noqa: E402
from imlspike.inference.beam_search import read_options  # noqa: E402
from imlspike.inference.bundle_config import check_sizes  # noqa: E402
from imlspike.inference.ngram import NGramLanguageModel  # noqa: E402

ROOT = Path(__file__).parents[2]
YAMLS = [
    path.relative_to(ROOT) for start in ("conf", "egs") for path in sorted((ROOT / start).rglob("*.yaml"))
]
YAMLS = [path for path in YAMLS if not {"results", "exp", "dump", "data"} & set(path.parts)]
# Vocoders are checked in tests/recipes, voices in test_tts.py.
YAMLS = [
    path for path in YAMLS if not any(part.startswith(("voc", "tts", "spikevoice")) for part in path.parts)
]
DECODING = [path for path in YAMLS if path.name.startswith("decode")]
LANGUAGE = [path for path in YAMLS if path.name.startswith("train_lm")]
TRAINING = [path for path in YAMLS if path not in DECODING + LANGUAGE]
# What an override is laid over, where it isn't the file of this folder (or above) that stands alone.
ALONE = {"conf": "quick.yaml", "egs": "train_asr_iml_spikeformer.yaml"}
OVER = {
    "conf/ablations/width_128.yaml": ["conf/quick.yaml", "conf/ablations/budget.yaml"],
    "conf/ablations/cnn_kernel_31.yaml": ["conf/quick.yaml", "conf/ablations/conformer.yaml"],
    "conf/ablations/lr_0.008.yaml": ["conf/quick.yaml", "conf/peers/quick_conformer.yaml"],
    "conf/time_conv.yaml": ["egs/aishell/asr1/conf/train_asr_iml_spikeformer.yaml"],
    "conf/ablations/threshold_fixed.yaml": ["egs/aishell/asr1/conf/train_asr_iml_spikeformer.yaml"],
    "egs/aishell/asr1/conf/words.yaml": ["conf/quick.yaml"],
    "egs/aishell/asr1/conf/sentences.yaml": ["conf/quick.yaml"],
    "egs/speechocean762/asr1/conf/quick.yaml": ["conf/quick.yaml"],
    "egs/speechocean762/asr1/conf/full.yaml": ["conf/quick.yaml", "conf/full.yaml"],
    "egs/speechocean762/asr1/conf/transfer.yaml": ["conf/quick.yaml", "conf/full.yaml"],
    "egs/speechocean762/asr1/conf/transfer_conformer.yaml": [
        *("conf/quick.yaml", "conf/full.yaml", "conf/peers/full_conformer.yaml"),
        "egs/speechocean762/asr1/conf/transfer.yaml",
    ],
}


def layers(path: Path) -> list[Path]:
    """The base and the overrides that make a whole configuration of a training YAML."""
    above = OVER.get(str(path))
    if above is None:
        name = ALONE[path.parts[0]]
        base = next(folder / name for folder in path.parents if (ROOT / folder / name).exists())
        above = [] if path == base else [base]
    return [ROOT / file for file in (*above, path)]


def test_all_yamls_are_found():
    assert {"conf/quick.yaml", "conf/time_conv.yaml"} <= set(map(str, TRAINING))
    assert len(LANGUAGE) >= 2 and len(DECODING) >= 3


@pytest.mark.parametrize("path", TRAINING, ids=str)
def test_a_recogniser_can_be_built(path):
    base, *overrides = layers(path)
    config = resolve(base, overrides)
    assert not overrides or config != resolve(base, overrides[:-1]), "it changes nothing"
    config.get("model_conf", {}).pop("distill_from", None)  # it needs a front end, which isn't built here
    with torch.device("meta"):
        model = build(config | {"input_size": 80}, vocabulary=50)
    assert model.encoder.output_size() == config["encoder_conf"]["output_size"]
    assert {"optim_conf", "scheduler_conf", "max_epoch", "best_model_criterion"} <= config.keys()


@pytest.mark.parametrize("path", LANGUAGE, ids=str)
def test_a_language_model_can_be_built(path):
    from espnet2.tasks.lm import LMTask, lm_choices

    config, known = read_yaml(ROOT / path), LMTask.get_default_config()
    assert not config.keys() - known.keys()
    if config["lm"] == "ngram":
        assert NGramLanguageModel.fit([[2]], 4, **config["lm_conf"]).order > 1
        return
    assert not config["lm_conf"].keys() - constructor_keys(lm_choices.get_class(config["lm"]))
    tokens = ["<blank>", "<unk>", "a", "<sos/eos>"]
    with torch.device("meta"):
        model = LMTask.build_model(argparse.Namespace(**known | config | {"token_list": tokens}))
    assert sum(p.numel() for p in model.parameters()) > 0


@pytest.mark.parametrize("path", DECODING, ids=str)
def test_a_decoding_is_taken_by_espnet_s_inference_and_by_ours(path):
    from espnet2.bin.asr_inference import get_parser

    known = {action.dest for action in get_parser()._actions}
    assert not read_yaml(ROOT / path).keys() - known
    assert read_options(ROOT / path).beam_size == read_yaml(ROOT / path)["beam_size"] >= 10


@pytest.mark.parametrize("name", ["conformer", "transformer", "branchformer", "e_branchformer"])
def test_a_bundle_may_say_what_espnet_s_encoders_have_by_default(name):
    """As the Conformer's padding_idx, -1: a packed peer opens, and can teach."""
    from espnet2.tasks.asr import encoder_choices

    cls = encoder_choices.get_class(name)
    defaults = {key: one.default for key, one in signature(cls).parameters.items()}
    with torch.device("meta"):
        states = cls(80).state_dict()
    check_sizes({"model": {"encoder_conf": defaults}}, states, "bundle.yaml")
    with pytest.raises(ConfigError, match="num_blocks"):
        check_sizes({"model": {"encoder_conf": defaults | {"num_blocks": -1}}}, states, "bundle.yaml")
