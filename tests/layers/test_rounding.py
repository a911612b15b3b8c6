"""Weights of few bits: their grid, what 16 bits change, and that verbs and openers round the folded model."""

import json

import pytest
import torch
from torch import nn

from imlspike.bin.profile import main as profile
from imlspike.inference import Bundle, Vocoder
from imlspike.inference.voice import TrainedVoice
from imlspike.layers.rounding import round_weights
from imlspike.layers.token_conv import NormedConv
from tests.evaluation.speechlike import voice, write_set
from tests.inference.small_tts import write_voice
from tests.inference.small_vocoder import SIZES, save, small_model

MAPS = nn.Linear | nn.Conv1d | nn.Conv2d


def check_grid(model, bits):
    """Every map's weights are whole multiples, up to 2^(bits - 1) - 1, of a step of their output channel."""
    maps = [module for module in model.modules() if isinstance(module, MAPS)]
    for module in maps:
        weight = module.weight.detach().flatten(1).double()
        step = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        levels = weight / step.clamp(min=1e-30)
        assert (levels - levels.round()).abs().max() < 0.01, module  # rounding of fp32
    return len(maps)


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_weights_lie_on_a_symmetric_grid_of_their_channel(bits):
    torch.manual_seed(bits)
    model = nn.Sequential(nn.Linear(9, 4), nn.Conv1d(4, 6, 3, groups=2), nn.Conv2d(3, 5, 3), nn.LayerNorm(7))
    with torch.no_grad():
        model[0].weight[1] *= 1000  # a large channel leaves the others their steps
        model[0].weight[2] = 0
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert round_weights(model, bits) is model and check_grid(model, bits) == 3
    for key, value in model.state_dict().items():
        step = before[key].flatten(1).abs().amax(1) / (2 ** (bits - 1) - 1) if value.dim() > 1 else None
        off = (value - before[key]).abs()
        assert not off.any() if step is None else (off.flatten(1).amax(1) <= 0.501 * step).all()
    again = {key: value.clone() for key, value in model.state_dict().items()}
    round_weights(model, bits)
    torch.testing.assert_close(model.state_dict(), again, rtol=1e-6, atol=0)


@pytest.mark.parametrize("bits", [1, 17])
def test_bits_that_make_no_grid_are_named(bits):
    with pytest.raises(ValueError, match=f"weight_bits.*{bits}"):
        round_weights(nn.Linear(2, 2), bits)


def test_16_bits_change_a_map_by_half_a_step_at_most_and_a_vocoder_by_a_thousandth():
    torch.manual_seed(0)
    x, linear = torch.randn(20, 32, dtype=torch.float64), nn.Linear(32, 8).double()
    step, exact = linear.weight.detach().abs().amax(1) / (2**15 - 1), linear(x)
    off = (round_weights(linear, 16)(x) - exact).abs()
    assert (off <= x.abs().sum(1, keepdim=True) * step / 2 + 1e-12).all()
    model, mel = small_model("none"), torch.randn(1, 8, 30)
    exact = model(mel)
    assert (round_weights(model, 16)(mel) - exact).abs().max() < 1e-3 * exact.abs().max()


def test_what_is_opened_with_few_bits_has_them_and_is_folded_before(tmp_path):
    save(small_model(), tmp_path / "vocoder")
    vocoder = Vocoder.from_pretrained(tmp_path / "vocoder", weight_bits=3)
    assert check_grid(vocoder.model, 3) > 4
    whole = Vocoder.from_pretrained(tmp_path / "vocoder").model.state_dict()
    assert not torch.equal(whole["head.out.weight"], vocoder.model.head.out.weight)
    (tmp_path / "voice").mkdir()
    spoken = TrainedVoice.from_bundle(Bundle.load(write_voice(tmp_path / "voice"), "voice", weight_bits=4))
    assert check_grid(spoken.model, 4) > 10
    assert not any(isinstance(module, NormedConv) for module in spoken.model.modules())


def test_a_profile_tells_its_bits(tmp_path):
    pytest.importorskip("matplotlib")
    save(small_model(), tmp_path / "exp")
    data = write_set(tmp_path, {"a": voice(0.1)}, SIZES["sampling_rate"])
    where = ["--exp", str(tmp_path / "exp"), "--data-dir", str(data), "--output-dir", str(tmp_path / "out")]
    assert profile([*where, "--weight-bits", "8"]) == 0
    assert json.loads((tmp_path / "out/energy.json").read_text())["weight_bits"] == 8
    with pytest.raises(SystemExit):
        profile([*where, "--weight-bits", "1"])
