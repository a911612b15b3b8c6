"""Durations, pitch and energy: the length regulator, the bins, what the controls do."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.layers import Layout
from imlspike.models.length_regulator import regulate
from imlspike.models.neuron_choice import NeuronChoice
from imlspike.models.variance_adaptor import BinnedEmbedding, VarianceAdaptor
from tests.models.small_spikevoice import batch, voice

ROWS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), min_size=1, max_size=3)


@settings(max_examples=25)
@given(ROWS, st.integers(1, 3))
def test_the_regulator_repeats_each_token_for_its_duration(rows, steps):
    rows = [[max(row[0], 1), *row[1:]] for row in rows]
    width = max(map(len, rows))
    durations = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    x = torch.randn(steps, len(rows), width, 2, requires_grad=True)
    frames, layout = regulate(x, durations)
    lengths = [layout.tokens] if layout.lengths is None else layout.lengths.tolist()
    assert lengths == [sum(row) for row in rows]
    for b, row in enumerate(durations):
        want = x[:, b].repeat_interleave(row, 1)
        assert torch.equal(frames[:, b, : want.shape[1]], want) and not frames[:, b, want.shape[1] :].any()
    frames.sum().backward()
    assert torch.equal(x.grad, durations[None, :, :, None].expand_as(x).float())


@given(st.floats(-9, 9), st.floats(-9, 9))
def test_bins_ascend_and_are_equal(a, b):
    embedding = BinnedEmbedding(-4.0, 4.0, 16, 2)
    low, high = sorted((a, b))
    first, second = embedding.bin(torch.tensor([low, high], dtype=torch.float64)).tolist()
    assert 0 <= first <= second <= 15
    if -4 <= low and high < 4:
        assert first == math.floor((low + 4) * 2) and second == math.floor((high + 4) * 2)


def test_the_controls_are_factors_on_f0_energy_and_speed():
    """log F0 = 5 + 0.2 p, energy = 30 + 10 e. Twice the F0 adds log(2) / 0.2 to p, twice the energy e + 3"""
    model = voice("lif")
    model.adaptor.set_statistics(pitch=(5.0, 0.2), energy=(30.0, 10.0))
    data = {name: batch([8])[name] for name in ("text", "text_lengths")}
    plain, said = model(**data), []
    for name in ("pitch_embedding", "energy_embedding"):
        getattr(model.adaptor, name).register_forward_hook(lambda module, args, out: said.append(args[0]))
    text = data["text"][0, :8]
    model.synthesize(text, pitch=2.0, durations=plain.durations[0, :8])
    torch.testing.assert_close(said[0][0], plain.pitch[0, :8] + math.log(2) / 0.2)
    said.clear()
    model.synthesize(text, energy=2.0, durations=plain.durations[0, :8])
    torch.testing.assert_close(said[0][0], plain.pitch[0, :8])
    torch.testing.assert_close(said[1][0], 2 * plain.energy[0, :8] + 3.0)
    layout = Layout(torch.tensor([8]), 8)
    log_durations = torch.linspace(1.0, 5.0, 8)[None]
    frames = VarianceAdaptor.frames(log_durations, layout)
    torch.testing.assert_close(frames.double(), log_durations.expm1().round().double())
    halved = VarianceAdaptor.frames(log_durations, layout, speed=2.0)
    assert ((halved - frames / 2).abs() <= 0.76).all()
    with pytest.raises(ValueError, match="positive, got 0.0 .pitch."):
        model.adaptor.set_statistics((5.0, 0.0), (1.0, 1.0))


def test_choosing_neurons():
    assert (NeuronChoice("lif", 3).time, NeuronChoice("imls", 3).time, NeuronChoice("none", 3).time) == (
        3,
        1,
        1,
    )
    assert (
        NeuronChoice("lif")().detach_reset
        and not NeuronChoice("lif", conf={"detach_reset": False})().detach_reset
    )
    assert NeuronChoice("plif", conf={"tau": 3.0})().tau == pytest.approx(3.0)
    assert NeuronChoice("imls", 5)().levels == 5 and NeuronChoice("imls", 5)().amplitude == "unit"
    assert isinstance(NeuronChoice("none")(), torch.nn.Identity)
    with pytest.raises(ValueError, match="'lift'.*did you mean 'lif'"):
        NeuronChoice("lift")
    with pytest.raises(ValueError, match="neuron_conf of plif: unknown key 'taus'; did you mean 'tau'"):
        NeuronChoice("plif", conf={"taus": 2})
