"""A neuron that somebody adds in a file of their own trains, is counted and exported in all three systems."""

import math
import sys

import pytest
import torch
from torch import nn

from imlspike.evaluation.operations import OperationCounter
from imlspike.evaluation.spikes import SpikeRecorder, spiking_neurons
from imlspike.models import IMLSpikeformerEncoder, SpikeVoice, SpikingVocos
from imlspike.models.neuron_choice import NeuronChoice
from imlspike.models.spikevoice_blocks import default_attention
from imlspike.neurons import NEURONS, Neuron, register, spike

SIZES = dict(output_size=16, attention_heads=2, linear_units=24, num_blocks=1)
SIZES |= dict(conv_kernel=3, input_channels=4)


class ResonateAndFire(Neuron):
    """Izhikevich's resonate-and-fire neuron (2001): a complex potential that turns as it decays."""

    stateful = True

    def __init__(self, decay: float = 0.7, angle: float = math.pi / 8, threshold: float = 0.5):
        super().__init__()
        self.decay, self.angle = nn.Parameter(torch.tensor(decay)), angle
        self.threshold = threshold

    def forward(self, x, mask=None):
        real = imaginary = torch.zeros_like(x[0])
        cosine, sine, spikes = math.cos(self.angle), math.sin(self.angle), []
        for current in x:
            real, imaginary = (
                self.decay * (cosine * real - sine * imaginary) + current,
                self.decay * (sine * real + cosine * imaginary),
            )
            fired = spike(real - self.threshold, "atan")
            imaginary = imaginary * (1 - fired)
            spikes.append(fired)
        return torch.stack(spikes)


def encoder():
    model = IMLSpikeformerEncoder(20, **SIZES, neuron="resonate", neuron_conf={"threshold": 0.4}, levels=4)
    return model, (torch.randn(1, 60, 20),), lambda *inputs: model(*inputs)[0]


def vocoder():
    sizes = dict(n_fft=64, hop_length=16, n_mels=8, dim=8, intermediate_dim=12, num_layers=2, steps=3)
    model = SpikingVocos(sampling_rate=8000, **sizes, neuron="resonate", temporal_shift="fixed")
    return model, (torch.randn(1, 8, 30),), model


def voice():
    sizes = dict(n_mels=8, dim=16, hidden_dim=16, encoder_layers=1, decoder_layers=1, steps=3)
    model = SpikeVoice(12, **sizes, postnet_dim=8, postnet_layers=2, neuron="resonate", aligner=False)
    text = torch.randint(1, 12, (1, 7))
    return model, (text,), lambda text: model(text, torch.tensor([text.shape[1]])).mel_post


class Run(torch.nn.Module):
    """A system's one tensor as a module's output."""

    def __init__(self, model, run):
        super().__init__()
        self.model, self.run = model, run

    def forward(self, *inputs):
        return self.run(*inputs)


@pytest.mark.parametrize("system", [encoder, vocoder, voice])
def test_it_trains_and_is_counted(system):
    model, inputs, run = system()
    run(*inputs).square().mean().backward()
    neurons = spiking_neurons(model)
    decays = [p for n, p in model.named_parameters() if n.endswith("decay") and p.grad is not None]
    assert len(neurons) > 3 and len(decays) > 3 and all(p.grad.isfinite() for p in decays)
    before = [p.detach().clone() for p in decays]
    torch.optim.SGD(model.parameters(), 0.1).step()
    assert any(not torch.equal(a, b) for a, b in zip(before, decays, strict=True))
    model.eval()
    with torch.no_grad(), SpikeRecorder(model) as recorder, OperationCounter(model) as counter:
        run(*inputs)
    assert recorder.layers.keys() == neurons.keys() and not recorder.silent()
    assert sum(layer.spikes for layer in recorder.layers.values()) > 0
    rows = counter.rows.values()
    assert sum(row.accumulates for row in rows) > 0
    updates = sum(row.additions for row in rows if row.kind == "neuron")
    spikes = sum(layer.spikes for layer in recorder.layers.values())
    elements = sum(layer.neurons * layer.levels for layer in recorder.layers.values())
    assert updates == 3 * elements + spikes  # leak and comparison at each step, a reset for each spike


@pytest.mark.parametrize("system", [encoder, vocoder, voice])
def test_it_exports(system):
    model, inputs, run = system()
    model.eval()
    with torch.no_grad():
        program = torch.export.export(Run(model, run), inputs).module()
        torch.testing.assert_close(program(*inputs), run(*inputs), atol=1e-5, rtol=0)


class HalfWave(Neuron):
    """A neuron without a constructor, as short as one can be."""

    def forward(self, x, mask=None):
        return spike(x - 0.5)


@pytest.fixture(autouse=True)
def registered():
    """Both neurons by their names, in these tests only."""
    register("resonate")(ResonateAndFire)
    register("half_wave")(HalfWave)
    yield
    del NEURONS["resonate"], NEURONS["half_wave"]


@pytest.mark.parametrize("neuron", ["relu", "half_wave"])
def test_neurons_without_arguments_serve_in_every_system(neuron):
    sizes = dict(n_mels=8, dim=16, hidden_dim=16, encoder_layers=1, decoder_layers=1, postnet_dim=8)
    SpikeVoice(12, **sizes, neuron=neuron)(torch.randint(1, 12, (1, 7))).mel_post.sum().backward()
    sizes = dict(n_fft=64, hop_length=16, n_mels=8, dim=8, intermediate_dim=12, num_layers=1)
    SpikingVocos(8000, **sizes, neuron=neuron)(torch.randn(1, 8, 30)).sum().backward()
    IMLSpikeformerEncoder(20, **SIZES, neuron=neuron)(torch.randn(2, 60, 20))[0].sum().backward()


def test_a_module_of_the_users_is_imported_by_name(tmp_path, monkeypatch):
    lines = ["from imlspike.neurons import LIF, register", "@register('of_mine')", "class Mine(LIF): pass"]
    (tmp_path / "my_neurons.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="of_mine"):
        SpikingVocos(neuron="of_mine")
    monkeypatch.setenv("IMLSPIKE_NEURONS", "my_neurons")
    SpikingVocos(dim=8, intermediate_dim=8, num_layers=1, neuron="of_mine")
    del NEURONS["of_mine"], sys.modules["my_neurons"]
    assert default_attention("of_mine") == "stsa", "in a report, where no model is opened"
    del NEURONS["of_mine"]


class Placed(HalfWave):
    """A neuron whose own arguments have names that the network sets for IMLS."""

    def __init__(self, levels: int = 1, token_dim: str = "time"):
        super().__init__()
        self.levels, self.token_dim = levels, token_dim


def test_a_neurons_own_arguments_are_given_whatever_their_names():
    register("placed")(Placed)
    try:
        choice = NeuronChoice("placed", 4, {"levels": 3, "token_dim": "x"})
        made = [choice(), choice.for_maps()]
    finally:
        del NEURONS["placed"]
    assert [(neuron.levels, neuron.token_dim) for neuron in made] == [(3, "x")] * 2 and choice.levels == 3
    for key in ("levels", "token_dim", "channel_dims"):
        with pytest.raises(ValueError, match=key):
            NeuronChoice("imls", 4, {key: 1})


def test_relu_makes_each_system_its_own_twin():
    spiking, twin = IMLSpikeformerEncoder(20, **SIZES), IMLSpikeformerEncoder(20, **SIZES, neuron="relu")
    shapes = [{name: p.shape for name, p in each.named_parameters()} for each in (spiking, twin)]
    assert shapes[0] == shapes[1]
    assert not spiking_neurons(twin) and len(spiking_neurons(spiking)) > 8
    twin(torch.randn(2, 60, 20))[0].square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in twin.parameters())
