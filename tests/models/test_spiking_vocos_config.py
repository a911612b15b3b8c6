"""Arguments of Spiking Vocos, its files, and the mels that it takes: what is wrong is refused and named."""

import inspect

import pytest
import torch
import yaml

from imlspike.models import SpikingVocos
from tests.models.small_vocos import TINY, VARIANTS, small_mel, small_vocos


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neuron": "pliff"}, "neuron must be one of .*'pliff'; did you mean 'plif'"),
        ({"temporal_shift": "learned"}, "temporal_shift .*'learned'; did you mean 'learnable'"),
        ({"amplitude_shortcut": "sign"}, "amplitude_shortcut .*'sign'; did you mean 'signed'"),
        ({"neuron_conf": {"thresold": 1.0}}, "neuron_conf of plif: .*'thresold'; did you mean 'threshold'"),
        ({"neuron": "imls", "neuron_conf": {"kapa": 1.0}}, "neuron_conf of imls: .*'kapa'.*'kappa'"),
        ({"neuron": "imls", "neuron_conf": {"levels": 4}}, "neuron_conf of imls: 'levels'"),
        ({"neuron": "imls", "neuron_conf": {"threshold": "layer"}}, "threshold"),
        ({"neuron": "imls", "temporal_shift": "fixed"}, "temporal_shift must be off.*imls"),
        ({"neuron_conf": {"tau": 0.5}}, "tau.*0.5"),
        ({"steps": 0}, "steps .*at least 1, not 0"),
        ({"num_layers": 2.5}, "num_layers .*2.5"),
        ({"n_mels": "80"}, "n_mels .*'80'"),
        ({"layer_scale": "1e-3"}, "layer_scale must be a number or null, not '1e-3'"),
        ({"shift_alpha": None}, "shift_alpha must be a number, not None"),
        ({"hop_length": 33}, r"n_fft .*hop_length \(33\), not 64"),
        ({"n_fft": 65}, "n_fft must be even.*65"),
        ({"f_max": 4001.0}, r"half the sampling rate \(4000\).* 0 and 4001"),
        ({"f_min": 4000.0}, "f_min < f_max.*4000 and 4000"),
        ({"readout_decay": 0}, "readout_decay .*0"),
        ({"dim": 3, "temporal_shift": "fixed"}, "at least 4, got 3"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SpikingVocos(**{**TINY, **options})
    with pytest.raises(ValueError, match=rf"a\.yaml: .*({message})"):
        SpikingVocos.from_config({**TINY, **options}, source="a.yaml")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_configuration_makes_the_same_model_again(variant):
    model = small_vocos(variant, dtype=torch.float32)
    assert model.config.keys() == inspect.signature(SpikingVocos).parameters.keys()
    assert {**TINY, **VARIANTS[variant]}.items() <= model.config.items()
    other = SpikingVocos(**yaml.safe_load(yaml.safe_dump(model.config)))
    other.load_state_dict(model.state_dict())
    assert other.config == model.config and str(other) == str(model)
    mel = small_mel(dtype=torch.float32)
    assert torch.equal(other(mel), model(mel))


@pytest.mark.parametrize(
    ("mel", "known", "message"),
    [
        (torch.zeros(1, 80, 9), {}, r"\(B, 6, L\).*\(1, 80, 9\)"),
        (torch.zeros(1, 9, 6), {}, r"\(B, 6, L\).*\(1, 9, 6\)"),
        (torch.zeros(6, 9), {}, r"\(B, 6, L\).*\(6, 9\)"),
        (torch.zeros(1, 6, 1), {}, r"at least 2 frames, got \(1, 6, 1\)"),
        (torch.zeros(1, 6, 9), {"sampling_rate": 24000}, "sampling_rate 24000, this model 8000"),
        (torch.zeros(1, 6, 9), {"hop_length": 256}, "hop_length 256, this model 16"),
    ],
)
def test_a_mel_of_another_model_is_refused(mel, known, message):
    model = small_vocos(dtype=torch.float32)
    with pytest.raises(ValueError, match=message):
        model.decode(mel, **known)
    if not known:
        with pytest.raises(ValueError, match=message):
            model.generate(mel)


def test_a_mel_of_this_model_is_taken():
    model, mel = small_vocos(), small_mel()
    assert torch.equal(model.decode(mel, sampling_rate=8000, hop_length=16), model(mel))
    audio = torch.randn(2, 330, dtype=torch.float64)
    assert model.features(audio).shape == (2, 6, 330 // 16 + 1)
    assert model(model.features(audio)).shape == (2, 330 // 16 * 16)
