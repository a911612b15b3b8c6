"""The recognizer that needs no ESPnet is ESPnet's with the same weights."""

import os
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from imlspike.data.yaml_file import ConfigError
from imlspike.espnet import register
from imlspike.espnet.parts import build_encoder
from imlspike.inference import Bundle
from imlspike.inference.experiment import read_experiment
from imlspike.inference.recognizer import Recognizer
from tests.espnet.tiny import CONFIG, TOKENS, tone

PRETRAINED = Path(__file__).parents[2] / "pretrained/recogniser.zip"


def waves() -> list[torch.Tensor]:
    """Tones of several lengths, and where real speech is at hand, some of it."""
    found = [torch.from_numpy(tone(text)).float() for text in ("ab ba", "a", "abba b a")]
    data = Path(os.environ.get("IMLSPIKE_TEST_DATA", "nowhere"), "LibriSpeech")
    for file in sorted(data.rglob("*.flac"))[:3]:
        found.append(torch.from_numpy(soundfile.read(file, dtype="float32")[0]))
    return found


def espnets(config: dict) -> torch.nn.Module:
    """A recognizer as ESPnet builds it."""
    register()
    from espnet2.tasks.asr import ASRTask

    return ASRTask.build_model(Namespace(**vars(ASRTask.get_parser().parse_args([])) | config)).eval()


@torch.no_grad()
def assert_same(model: torch.nn.Module, bundle: Bundle) -> None:
    """The encoder's output to the last bit; folded and in a batch, in fp64, where rounding moves no spike."""
    own, audio = Recognizer.from_bundle(bundle, exact=True), waves()
    (ours, lengths), (log_probs, _) = own.encode(audio), own(audio)
    for place, (wave, length) in enumerate(zip(audio, lengths, strict=True)):
        encoded, _ = model.encode(wave[None], torch.tensor([len(wave)]))
        assert torch.equal(ours[place, :length], encoded[0])
        torch.testing.assert_close(log_probs[place, :length], model.ctc.log_softmax(encoded)[0])
    alone, _ = own.double()(audio)
    if hasattr(own.encoder, "reparameterize"):
        own.encoder.reparameterize()
    own.exact = False
    torch.testing.assert_close(own(audio)[0], alone, rtol=0, atol=1e-7)


@pytest.mark.skipif(not PRETRAINED.is_file(), reason="only beside the sources")
def test_the_pretrained_recognizer_is_espnets(tmp_path):
    bundle = Bundle.load(PRETRAINED)
    keys = ("n_fft", "win_length", "hop_length", "n_mels", "level", "floor")
    features = {key: bundle.config["features"][key] for key in keys}
    stats = {"count": 1.0, "sum": [0.0] * 80, "sum_square": [1.0] * 80}
    np.savez(tmp_path / "stats.npz", **stats)
    config = bundle.config["model"] | {"token_list": list(bundle.tokens)}
    config |= {"frontend": "level_log_mel", "frontend_conf": features}
    config |= {"normalize": "global_mvn", "normalize_conf": {"stats_file": str(tmp_path / "stats.npz")}}
    config |= {"model_conf": {"ctc_weight": 1.0}}  # it has no decoder
    model = espnets(config)
    names = {"features.bands": "frontend.logmel.melmat", "features.": "normalize.", "ctc.": "ctc.ctc_lo."}
    states = {}
    for key, state in bundle.states.items():
        old = next((old for old in names if key.startswith(old)), "")
        states[names.get(old, "") + key.removeprefix(old)] = state
    model.load_state_dict(states)
    assert_same(model, bundle)


SMALL = {"output_size": 16, "attention_heads": 2, "num_blocks": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"frontend_conf": {"fs": "8k", "n_mels": 20, "fmin": 50, "htk": True, "normalized": True}},
        {"frontend": "level_log_mel", "frontend_conf": {"n_mels": 20, "level": -15, "augment": {"gain": 1}}},
        {
            "frontend": "level_log_mel",
            "frontend_conf": {"n_mels": 20, "augment": {"gain": 1}, "augment_after": 9},
            "specaug": "late_specaug",
            "specaug_conf": {"apply_time_warp": False, "apply_time_mask": False, "after": 9},
        },
        {"normalize": None, "speech_volume_normalize": 0.5},
        {"encoder": "conformer", "encoder_conf": SMALL},
        {"encoder": "transformer", "encoder_conf": SMALL},
        {"encoder_conf": SMALL | {"input_layer": "conv2d6"}},
    ],
    ids=str,
)
def test_what_a_configuration_can_say(changes, tmp_path):
    """Other features, another normalization, ESPnet's own encoder: from the experiment, and as a file."""
    config = yaml.safe_load(CONFIG) | {"token_list": TOKENS, "ctc_conf": {}} | changes
    torch.manual_seed(0)
    model = espnets(config)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save(model.state_dict(), tmp_path / "valid.loss.ave.pth")
    bundle = read_experiment(tmp_path)
    bundle.save(tmp_path / "x.zip")
    if config.get("speech_volume_normalize"):  # ESPnet's inference does it before the model
        audio = waves()[0]
        loud, quiet = (Recognizer.from_bundle(bundle, exact=True)([audio * gain])[0] for gain in (1, 0.1))
        torch.testing.assert_close(loud, quiet, atol=1e-3, rtol=0)
        return
    for opened in (bundle, Bundle.load(tmp_path / "x.zip")):
        assert_same(model, opened)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"frontend": "sliding_window"}, "sliding_window"),
        ({"input_size": 80}, "features"),
        ({"postencoder": "hugging_face_transformers"}, "postencoder"),
        ({"frontend_conf": {"n_mels": 20, "onesided": False}}, "frontend_conf"),
        ({"normalize": "utterance_mvn", "normalize_conf": {"norm_vars": True}}, "norm_vars"),
        ({"token_list": None}, "token_list"),
        ({"token_type": "whisper_en"}, "whisper_en"),
    ],
    ids=str,
)
def test_what_a_bundle_cannot_hold_is_named(changes, key, tmp_path):
    config = yaml.safe_load(CONFIG) | {"token_list": TOKENS, "ctc_conf": {}}
    states = espnets(config).state_dict()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | changes))
    torch.save(states, tmp_path / "valid.loss.ave.pth")
    with pytest.raises(ValueError, match=key):
        Recognizer.from_bundle(read_experiment(tmp_path))


@pytest.mark.parametrize("name", ["beats", "avhubert", "hubert", "wav2vec2", "whisper"])
def test_a_bundle_names_no_part_that_reads_files_or_the_network(name):
    """A stranger's bundle could point it anywhere."""
    with pytest.raises(ConfigError, match=name):
        build_encoder(name, {"input_size": 80, "beats_ckpt_path": "/nowhere.pt"}, "a.zip")
