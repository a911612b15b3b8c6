"""Models in half and in double precision, and none of the latter where nobody asked for it."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from imlspike.layers.log_mel import LogMel
from tests.models.small import batch as features
from tests.models.small import small_encoder
from tests.models.small_decoder import batch as transcripts
from tests.models.small_decoder import small_decoder
from tests.models.small_spikevoice import VARIANTS as VOICES
from tests.models.small_spikevoice import batch as utterances
from tests.models.small_spikevoice import small_voice
from tests.models.small_vocos import small_mel, small_vocos


def encoder(**options):
    model = small_encoder(dtype=torch.float32, **options)
    return model, lambda model: model(*features([60, 41], torch.float32))[0]


def decoder():
    model = small_decoder(dtype=torch.float32)
    hs, *rest = transcripts([12, 9], [5, 3], torch.float32)
    return model, lambda model: model(hs.to(next(model.parameters()).dtype), *rest)[0]


def voice(variant):
    model, data = small_voice(dtype=torch.float32, **VOICES[variant]), utterances([9, 6])
    given = {name: data[name] for name in ("text", "text_lengths", "durations")}
    return model, lambda model: model(**given).mel_post


def vocoder(variant):
    mel = small_mel(dtype=torch.float32)
    return small_vocos(variant, dtype=torch.float32), lambda model: model(mel)


MODELS = {
    "encoder": encoder,
    "encoder, chunked": lambda: encoder(attention_mode="chunked", conv_kernel=3, positions="sinusoidal"),
    "decoder": decoder,
    "voice": lambda: voice("lif"),
    "voice, ANN": lambda: voice("ann"),
    "vocoder": lambda: vocoder("learned shift"),
    "vocoder, ANN": lambda: vocoder("ann"),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", MODELS)
def test_a_cast_model_is_near_itself(name, dtype):
    """Some neuron's potential is so near its threshold that rounding turns a spike over; most are not."""
    model, run = MODELS[name]()
    with torch.no_grad():
        torch.manual_seed(1)
        want = run(model)
        torch.manual_seed(1)
        got = run(copy.deepcopy(model).to(dtype))
    assert got.isfinite().all() and want.any()
    assert got.dtype == (torch.float32 if name.startswith("vocoder") and dtype.itemsize == 2 else dtype)
    distance = (got.double() - want.double()).norm() / want.double().norm()
    assert distance < (1e-4 if dtype == torch.float64 else 0.3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_features_stay_in_full_precision(dtype):
    audio = torch.randn(2, 800)
    plain = LogMel(8000, 64, 16, 6)
    assert torch.equal(copy.deepcopy(plain).to(dtype)(audio), plain(audio))


class NoDoubles(TorchDispatchMode):
    """Fails at the first tensor of float64, which not every device has."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else (out,):
            assert not isinstance(each, torch.Tensor) or each.dtype != torch.float64, func
        return out


@pytest.mark.parametrize("name", MODELS)
def test_training_makes_no_doubles(name):
    model, run = MODELS[name]()
    model.train()
    with NoDoubles():
        y = run(model)
        (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
