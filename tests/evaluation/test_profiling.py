"""Profiles of small recognizers, vocoders and voices: against hand counts, hooks and the paper's
equations."""

import json
import math

import pytest
import torch
from torch import nn

from imlspike.bin.profile import main
from imlspike.evaluation.energy import energy, spiking_vocos_energy
from imlspike.evaluation.plots import plot_learning_curves
from imlspike.evaluation.profiling import (
    Heard,
    energy_report,
    profile,
    real_time,
    recognizer,
    vocoder,
    write_profile,
)
from imlspike.evaluation.training_log import peak_memory_mb, read_epochs, read_log
from imlspike.models import IMLSpikeformerEncoder, SpikingVocos
from tests.evaluation.speechlike import voice as speechlike
from tests.evaluation.speechlike import write_set
from tests.inference.small_vocoder import save

PNG = b"\x89PNG"


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.output = nn.Embedding(7, 8), nn.Linear(8, 7, bias=False)

    def forward(self, memory, lengths, tokens, token_lengths):
        return self.output(self.embed(tokens) + memory.mean(1, keepdim=True))


class Recognizer(nn.Module):
    """Named as ESPnet names its parts; utterances of fewer than 10 frames don't reach the encoder."""

    def __init__(self):
        super().__init__()
        sizes = dict(output_size=8, attention_heads=2, linear_units=16, num_blocks=2)
        self.encoder = IMLSpikeformerEncoder(20, **sizes).reparameterize()
        self.ctc, self.decoder = nn.Linear(8, 7, bias=False), Decoder()

    def transcribe(self, wave):
        frames = wave.unflatten(0, (-1, 20))
        if len(frames) < 10:
            return None
        return self.ctc(self.encoder(frames[None], torch.tensor([len(frames)]))[0])


@pytest.fixture(scope="module")
def recognized():
    torch.manual_seed(0)
    model = Recognizer().eval()
    system, done = recognizer(model, model.transcribe), []
    frames = {"a": 40, "short": 3, "b": 64}
    utterances = [Heard(u, n / 100, torch.randn(n * 20), torch.arange(n // 10)) for u, n in frames.items()]
    return system, profile(system, utterances, "b", done.append), done


def test_a_recognizer_is_counted_once_and_per_second(recognized):
    system, result, done = recognized
    assert (done, result.too_short, result.raster_of) == ([1, 2], ["short"], "b")
    heard = [Heard(name, n / 100, torch.randn(20 * n), torch.arange(1)) for name, n in (("x", 3), ("y", 40))]
    assert profile(system, heard, "x").raster_of == "y"  # the one that is asked for is too short
    assert (result.utterances, result.tokens, result.seconds) == (2, 4 + 6, pytest.approx(1.04))
    tokens = [system.model.encoder.output_lengths(n) for n in (40, 64)]
    [ctc] = result.parts["ctc"]
    assert ctc.macs == sum(tokens) * 8 * 7
    assert result.layers["encoder.blocks.0.attention.neuron"].neurons == sum(tokens) * 8
    assert result.rasters["encoder.blocks.0.attention.neuron"].shape == (tokens[1], 8)
    report = energy_report(result, system, beam=3)
    decoder = next(row for row in result.parts["decoder"] if row.kind == "weights")
    assert decoder.macs == 10 * 8 * 7
    assert report["parts"]["decoder"]["paper"] == pytest.approx(3 * decoder.macs * 4.6e-6 / 1.04)
    assert report["encoder"]["full"] == pytest.approx(energy(result.parts["encoder"])["full"] * 1e-6 / 1.04)
    assert report["model"]["full"] == pytest.approx(sum(part["full"] for part in report["parts"].values()))
    assert (report["operations_not_known"], report["neurons_that_never_ran"]) == ({}, [])


def test_files_and_pictures(recognized, tmp_path):
    pytest.importorskip("matplotlib")
    system, result, _ = recognized
    files = write_profile(result, energy_report(result, system, beam=3), system, tmp_path)
    assert sorted(file.name for file in files) == sorted(file.name for file in tmp_path.iterdir())
    assert json.loads((tmp_path / "energy.json").read_text())["beam"] == 3
    rows = json.loads((tmp_path / "spikes.json").read_text())
    assert [row["name"] for row in rows] == list(result.layers)
    assert sum(row["spikes"] for row in rows) == sum(layer.spikes for layer in result.layers.values())
    for picture in ("firing_rates.png", "raster.png"):
        data = (tmp_path / picture).read_bytes()
        assert data.startswith(PNG) and len(data) < 200_000


# Table 3 of arXiv 2509.13049: steps, firing rate, energy in pJ at L = 1000, as the paper rounds.
TABLE_3 = [
    (None, None, 58.0e9),
    (8, 0.147, 14.4e9),
    (4, 0.129, 6.4e9),
    (4, 0.141, 6.9e9),
    (4, 0.180, 8.7e9),
    (4, 0.176, 8.5e9),
]


def test_table_3_follows_from_its_inputs():
    for steps, rate, printed in TABLE_3:
        found = spiking_vocos_energy(frames=1000, rate=rate, steps=steps or 1)
        assert found.blocks == pytest.approx(printed, abs=0.05e9)
    ann, final = spiking_vocos_energy(), spiking_vocos_energy(rate=0.176)
    assert (ann.embedding, ann.head) == (final.embedding, final.head)
    # by hand: 7 * 100 * 512 and 512 * 1026 MACs a frame
    assert ann.embedding + ann.head == pytest.approx(1000 * (358400 + 525312) * 4.6)
    rates = [0.1] * 8 + [0.3] * 8
    assert spiking_vocos_energy(rate=rates).blocks == pytest.approx(spiking_vocos_energy(rate=0.2).blocks)
    for wrong in ([0.1, 0.2, 0.3], 17.6):
        with pytest.raises(ValueError, match="rate"):
            spiking_vocos_energy(rate=wrong)


SIZES = dict(n_fft=64, n_mels=8, dim=16, intermediate_dim=48, num_layers=2)
STEPS, FRAMES = 4, 11
SECONDS = 16 * (FRAMES - 1) / 16000


def small_vocos(**options):
    torch.manual_seed(0)
    model = SpikingVocos(sampling_rate=16000, hop_length=16, steps=STEPS, **SIZES, **options).eval()
    with torch.no_grad():  # so that all neurons fire
        for block in model.backbone.blocks:
            block.norm.weight.fill_(2.0)
            block.pwconv1.weight.normal_(0, 1)
    return model


def measured(model, frames=(FRAMES,)):
    waves = {f"u{n}": torch.randn(16 * (length - 1)) for n, length in enumerate(frames)}
    system = vocoder(model)
    result = profile(system, [Heard(u, len(wave) / 16000, wave) for u, wave in waves.items()])
    return result, energy_report(result, system)


def test_with_a_temporal_shift_the_counted_blocks_are_the_papers_equations():
    result, report = measured(small_vocos(temporal_shift="fixed"))
    rates = [layer.rate for layer in result.layers.values()]
    assert len(rates) == 4 and all(0 < rate < 1 for rate in rates)
    expected = spiking_vocos_energy(FRAMES, rates, STEPS, **SIZES)
    backbone = expected.blocks + expected.embedding
    for scope, energies in (("blocks", expected.blocks), ("backbone", backbone), ("model", expected.model)):
        assert report[scope]["paper"] * SECONDS == pytest.approx(1e-6 * energies)
    assert report["layer_rate"] == pytest.approx(sum(rates) / 4)
    table_3 = spiking_vocos_energy(1000, sum(rates) / 4, STEPS, **SIZES)
    assert report["table_3"] == pytest.approx({"blocks": table_3.blocks, "model": table_3.model})
    assert report["operations_not_known"] == {}


def test_the_default_vocoder_is_the_one_of_table_3():
    system = vocoder(SpikingVocos(neuron="none").eval())
    report = energy_report(profile(system, [Heard("a", 0.05, torch.randn(1200))]), system)
    expected = spiking_vocos_energy(1200 // 256 + 1)
    assert report["blocks"]["paper"] * 0.05 == pytest.approx(1e-6 * expected.blocks)
    assert report["model"]["paper"] * 0.05 == pytest.approx(1e-6 * expected.model)


def test_without_a_shift_the_first_convolution_runs_once_and_rates_are_of_steps_channels_and_frames():
    model, spikes = small_vocos(), []
    neuron = model.backbone.blocks[1].neuron2
    neuron.register_forward_hook(lambda module, args, output: spikes.append(output.detach()))
    result, _ = measured(model, (FRAMES, 23))
    macs = {row.name: row.macs for row in result.parts["backbone"] if row.kind == "weights"}
    assert macs["backbone.blocks.0.dwconv"] * STEPS == macs["backbone.blocks.1.dwconv"]
    layer, total = result.layers["backbone.blocks.1.neuron2"], sum(int(one.sum()) for one in spikes)
    assert layer.spikes == total and layer.rate == total / (STEPS * 48 * (FRAMES + 23))


@pytest.mark.parametrize("neuron", ["none", "imls", "lif"])
def test_the_twin_takes_macs_only_and_no_operation_is_unknown(neuron):
    result, report = measured(small_vocos(neuron=neuron))
    weights = [row for row in result.parts["backbone"] if row.kind == "weights" and "pwconv" in row.name]
    assert len(weights) == 4 and all((row.accumulates == 0) == (neuron == "none") for row in weights)
    assert report["operations_not_known"] == {} and (report["table_3"] is None) == (neuron == "imls")
    if neuron == "none":
        ann = spiking_vocos_energy(FRAMES, **SIZES)
        assert report["model"]["paper"] * SECONDS == pytest.approx(1e-6 * ann.model)
        assert ann.model == pytest.approx(
            4.6 * sum(r.dense_macs for part in result.parts.values() for r in part)
        )
        assert report["firing_rate"] is None and report["layer_rate"] is None


@pytest.mark.parametrize("options", [{}, {"temporal_shift": "fixed"}, {"neuron": "imls"}])
def test_the_same_network_with_relu_takes_the_macs_of_the_twin_in_one_pass(options):
    ours, twin = (
        {
            row.name: row
            for part in measured(small_vocos(**o))[0].parts.values()
            for row in part
            if row.kind == "weights"
        }
        for o in (options, {"neuron": "none"})
    )
    assert {name: row.dense_macs for name, row in ours.items()} == {n: row.macs for n, row in twin.items()}
    for name, row in ours.items():
        assert row.events <= row.dense_macs, name
        if row.bits < 8:
            assert row.bits == 3 and row.events <= row.accumulates <= STEPS * row.events


def test_layers_that_hardly_fire_or_always_do_are_named():
    model = small_vocos()
    assert measured(model)[1]["rates_out_of_range"] == {}
    with torch.no_grad():
        model.backbone.blocks[0].neuron1.threshold = 1e9
        model.backbone.blocks[1].neuron1.threshold = 1e-9
        model.backbone.blocks[1].norm.bias.fill_(100.0)
    odd = measured(model)[1]["rates_out_of_range"]
    dead, busy = (odd[f"backbone.blocks.{n}.neuron1"] for n in (0, 1))
    assert dead["rate"] == 0.0 and dead["largest_input"] < dead["least_that_fires"]
    assert busy["rate"] > 0.6 and busy["largest_input"] > busy["least_that_fires"]


def test_an_experiment_and_a_data_directory_are_enough(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    save(small_vocos(), tmp_path / "exp")
    data = write_set(tmp_path, {"a": speechlike(0.1), "b": speechlike(0.2), "c": speechlike(0.001)})
    where = ["--exp", str(tmp_path / "exp"), "--data-dir", str(data), "--output-dir", str(tmp_path / "out")]
    assert main(where) == 0
    report = json.loads((tmp_path / "out/energy.json").read_text())
    assert (report["utterances"], report["too_short"], report["scope"]) == (2, ["c"], "backbone")
    assert report["speed"]["audio_seconds"] == pytest.approx(0.3, abs=0.01)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"spikes.txt", "operations.txt", "operations.json", "raster.png", "firing_rates.png"}
    printed = capsys.readouterr().out
    assert "blocks  backbone     model" in printed and "too short for the network, left out: c" in printed
    assert main([*where, "--raster", "d"]) == 1 and "--raster d" in capsys.readouterr().err
    for cost, value in (("--mac", "-4"), ("--int8-multiply", "nan"), ("--accumulate", "5")):
        with pytest.raises(SystemExit):
            main([*where, cost, value])
        assert f"error: {cost if cost != '--accumulate' else '--mac'} must be" in capsys.readouterr().err
    (data / "wav.scp").write_text(f"a {tmp_path}/gone.wav\n")
    assert main(where) == 1


def test_of_several_timings_the_smallest_counts(monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 24.0])  # runs of 5, 2 and 4 seconds
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    monkeypatch.setattr("os.getloadavg", lambda: (1.5, 9.0, 9.0))
    speed = real_time(lambda item: item, [1.0, 3.0])
    assert (speed["seconds_per_second"], speed["runs"], speed["load"]) == (0.5, 3, 1.5)


LOG = """\
[vm] (trainer:394) INFO: 1epoch results: [train] loss_ctc=55.2, acc=0.006, loss=3.42e+03, \
optim0_lr0=2.000e-05, train_time=0.092, time=1 minute and 30.5 seconds, total_count=3, \
gpu_max_cached_mem_GB=1.5, [valid] loss_ctc=54.6, cer_ctc=0.900, loss=nan, time=2.5 seconds, total_count=1, \
[att_plot] time=1 second, total_count=0
[vm] (trainer:394) INFO: 2epoch results: [train] loss=9.000, time=5 seconds, total_count=6, \
[valid] loss=8.0, time=1 second, total_count=2
[vm] (worker:39) INFO: peak resident memory: 512 MB
[vm] (trainer:394) INFO: 2epoch results: [train] loss=7.000, time=1 hour, 2 minutes and 5 seconds, \
total_count=6, [valid] loss=6.5, cer_ctc=0.500, time=3 seconds, total_count=2
[vm] (worker:39) INFO: peak resident memory: 498 MB
"""


def test_the_log_of_a_training_that_was_resumed(tmp_path):
    log = tmp_path / "train.log"
    log.write_text("nothing yet\n")
    assert (read_epochs(log), peak_memory_mb(log)) == ([], None)
    log.write_text(LOG)
    first, second = read_epochs(log)
    assert (first["epoch"], first["train"]["loss"], first["train"]["seconds"]) == (1, 3420.0, 90.5)
    assert first["train"]["gpu_max_cached_mem_GB"] == 1.5 and math.isnan(first["valid"]["loss"])
    assert (first["valid"]["cer_ctc"], first["valid"]["seconds"]) == (0.9, 2.5)
    assert (second["train"]["loss"], second["train"]["seconds"]) == (7.0, 3725.0)
    assert peak_memory_mb(log) == 512
    pytest.importorskip("matplotlib")
    plot_learning_curves({"quick": [first, second], "quick_ann": [first, second]}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    for number, text in ((".10", "a"), (".2", "b"), (".1", "half a li"), ("", "c\n"), (".x", "no")):
        (tmp_path / f"train{number}.log").write_text(text)  # those that the launcher has put aside come first
    assert read_log(log).split("\n") == ["a", "b", "half a li", "c", ""]
