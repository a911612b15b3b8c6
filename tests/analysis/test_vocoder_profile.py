"""Spikes and energy of a vocoder: counts against hand counts, the paper's equations, files of the verb."""

import json

import pytest
import torch

from imlspike.analysis.operations import OperationCounter
from imlspike.analysis.profiling import Heard
from imlspike.analysis.spikes import rates_out_of_range
from imlspike.analysis.vocoder_energy import spiking_vocos_energy
from imlspike.analysis.vocoder_profile import profile_vocoder, vocoder_report
from imlspike.bin.profile import main
from imlspike.models import SpikingVocos
from imlspike.neurons import LIF
from tests.inference.small_vocoder import save

from .vocoder_audio import voice, write_set

SIZES = dict(n_fft=64, n_mels=8, dim=16, intermediate_dim=48, num_layers=2)
STEPS, FRAMES = 4, 11


def vocoder(**options):
    torch.manual_seed(0)
    model = SpikingVocos(sampling_rate=16000, hop_length=16, steps=STEPS, **SIZES, **options).eval()
    with torch.no_grad():  # so that all neurons fire
        for block in model.backbone.blocks:
            block.norm.weight.fill_(2.0)
            block.pwconv1.weight.normal_(0, 1)
    return model


def measured(model, frames=(FRAMES,)):
    waves = {f"u{n}": torch.randn(16 * (length - 1)) for n, length in enumerate(frames)}
    return profile_vocoder(model, [Heard(u, len(wave) / 16000, wave) for u, wave in waves.items()])


def test_with_a_temporal_shift_the_counted_blocks_are_the_papers_equations():
    model = vocoder(temporal_shift="fixed")
    result = measured(model)
    report = vocoder_report(result, model)
    rates = [layer.rate for layer in result.layers.values()]
    assert len(rates) == 4 and all(0 < rate < 1 for rate in rates)
    expected = spiking_vocos_energy(FRAMES, rates, STEPS, **SIZES)
    seconds = 16 * (FRAMES - 1) / 16000
    assert report["blocks"]["paper"] * seconds == pytest.approx(1e-6 * expected.blocks)
    assert report["model"]["paper"] * seconds == pytest.approx(1e-6 * expected.model)
    assert report["backbone"]["paper"] * seconds == pytest.approx(
        1e-6 * (expected.blocks + expected.embedding)
    )
    assert report["layer_rate"] == pytest.approx(sum(rates) / 4)
    table_3 = spiking_vocos_energy(1000, sum(rates) / 4, STEPS, **SIZES)
    assert report["table_3"] == {
        "blocks": pytest.approx(table_3.blocks),
        "model": pytest.approx(table_3.model),
    }
    assert report["operations_not_known"] == {}


def test_the_default_model_is_the_one_of_table_3():
    model = SpikingVocos(neuron="none").eval()
    report = vocoder_report(profile_vocoder(model, [Heard("a", 0.05, torch.randn(1200))]), model)
    frames = 1200 // 256 + 1
    assert report["blocks"]["paper"] * 0.05 == pytest.approx(1e-6 * spiking_vocos_energy(frames).blocks)
    assert report["model"]["paper"] * 0.05 == pytest.approx(1e-6 * spiking_vocos_energy(frames).model)
    assert report["table_3"]["blocks"] == pytest.approx(58.0e9, abs=0.05e9)  # as printed


def test_without_a_shift_the_first_convolution_runs_once():
    result = measured(vocoder())
    macs = {row.name: row.macs for row in result.parts["backbone"] if row.kind == "weights"}
    assert macs["backbone.blocks.0.dwconv"] == 7 * 16 * FRAMES
    assert macs["backbone.blocks.1.dwconv"] == 7 * 16 * FRAMES * STEPS


def test_rates_are_the_spikes_over_steps_channels_and_frames():
    model = vocoder()
    spikes = []
    neuron = model.backbone.blocks[1].neuron2
    handle = neuron.register_forward_hook(lambda module, args, output: spikes.append(output.detach()))
    layer = measured(model, (FRAMES, 23)).layers["backbone.blocks.1.neuron2"]
    handle.remove()
    total = sum(int(one.sum()) for one in spikes)
    assert [one.shape for one in spikes] == [(STEPS, 1, FRAMES, 48), (STEPS, 1, 23, 48)]
    assert layer.spikes == total
    assert layer.rate == total / (STEPS * 48 * (FRAMES + 23))


@pytest.mark.parametrize("neuron", ["none", "imls", "lif"])
def test_the_twin_takes_macs_only_and_no_operation_is_unknown(neuron):
    model = vocoder(neuron=neuron)
    report = vocoder_report(measured(model), model)
    weights = [row for row in measured(model).parts["backbone"] if row.kind == "weights"]
    pointwise = [row for row in weights if "pwconv" in row.name]
    assert len(pointwise) == 4
    assert all((row.accumulates == 0) == (neuron == "none") for row in pointwise)
    assert report["operations_not_known"] == {}
    if neuron == "none":
        seconds = 16 * (FRAMES - 1) / 16000
        assert report["firing_rate"] is None and report["layer_rate"] is None
        ann = spiking_vocos_energy(FRAMES, **SIZES)
        assert report["model"]["paper"] * seconds == pytest.approx(1e-6 * ann.model)
        dense = sum(row.dense_macs for part in measured(model).parts.values() for row in part)
        assert ann.model == pytest.approx(4.6 * dense)
    assert (report["table_3"] is None) == (neuron == "imls")


def test_the_fourier_transform_counts_as_radix_two():
    class Transform(torch.nn.Module):
        def forward(self, x):
            return torch.fft.irfft(torch.fft.rfft(x))

    with OperationCounter(Transform()) as counter:
        counter.module(torch.randn(3, 16))
    assert not counter.unknown
    row = counter.rows["", "elementwise"]
    butterflies = 2 * 3 * (16 / 4) * 4  # two ways, three signals, N / 4 complex ones on each of log2 N levels
    assert (row.additions, row.multiplications) == (6 * butterflies, 4 * butterflies)


def test_layers_that_hardly_fire_or_always_do_are_named():
    model = vocoder()
    assert rates_out_of_range(measured(model).layers, model) == {}
    with torch.no_grad():
        model.backbone.blocks[0].neuron1.threshold = 1e9
        model.backbone.blocks[1].neuron1.threshold = 1e-9
        model.backbone.blocks[1].norm.bias.fill_(100.0)
    odd = rates_out_of_range(measured(model).layers, model)
    dead, busy = (odd[f"backbone.blocks.{n}.neuron1"] for n in (0, 1))
    assert dead["rate"] == 0.0 and dead["largest_input"] < dead["least_that_fires"]
    assert busy["rate"] > 0.6 and busy["largest_input"] > busy["least_that_fires"]


@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("rest", [0.0, -0.5])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_least_input_that_fires_is_where_firing_begins(steps, rest, decay_input):
    neuron = LIF(tau=3.0, v_reset=rest, decay_input=decay_input)
    least = neuron.least_current(steps)
    assert neuron(torch.full((steps, 1), least * 1.001)).sum() == 1
    assert neuron(torch.full((steps, 1), least * 0.999)).sum() == 0


def test_an_experiment_and_a_data_directory_are_enough(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    save(vocoder(), tmp_path / "exp")
    data = write_set(tmp_path, {"a": voice(0.1), "b": voice(0.2), "c": voice(0.001)})
    where = ["--exp", str(tmp_path / "exp"), "--data-dir", str(data), "--output-dir", str(tmp_path / "out")]
    assert main(where) == 0
    report = json.loads((tmp_path / "out/energy.json").read_text())
    assert (report["utterances"], report["too_short"], report["scope"]) == (2, ["c"], "backbone")
    assert report["speed"]["audio_seconds"] == pytest.approx(0.3, abs=0.01)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"spikes.csv", "operations.txt", "operations.json", "raster.png", "firing_rates.png"}
    printed = capsys.readouterr().out
    assert "blocks  backbone     model" in printed and "too short for the network, left out: c" in printed
    (data / "wav.scp").write_text(f"a {tmp_path}/gone.wav\n")
    assert main(where) == 1
