"""A whole measurement on a small recogniser, its files and its pictures; what ESPnet's log says."""

import csv
import json

import pytest
import torch
from torch import nn

from imlspike.analysis.energy import energy
from imlspike.analysis.plots import plot_learning_curves
from imlspike.analysis.profiling import Heard, energy_report, profile, write_profile
from imlspike.analysis.training_log import peak_memory_mb, read_epochs, read_log
from imlspike.models import IMLSpikeformerEncoder

PNG = b"\x89PNG"


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.output = nn.Embedding(7, 8), nn.Linear(8, 7, bias=False)

    def forward(self, memory, lengths, tokens, token_lengths):
        return self.output(self.embed(tokens) + memory.mean(1, keepdim=True))


class Recogniser(nn.Module):
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
def measured():
    torch.manual_seed(0)
    model = Recogniser().eval()
    frames = {"a": 40, "short": 3, "b": 64}
    utterances = [Heard(u, n / 100, torch.randn(n * 20), torch.arange(n // 10)) for u, n in frames.items()]
    done = []
    return model, profile(model, model.transcribe, utterances, "b", done.append), done


def test_everything_is_counted_once_and_per_second(measured):
    model, result, done = measured
    assert (done, result.too_short, result.raster_of) == ([1, 2], ["short"], "b")
    assert (result.utterances, result.tokens, result.seconds) == (2, 4 + 6, pytest.approx(1.04))
    tokens = [model.encoder.output_lengths(n) for n in (40, 64)]
    [ctc] = result.parts["ctc"]
    assert ctc.macs == sum(tokens) * 8 * 7
    assert result.layers["encoder.blocks.0.attention.neuron"].neurons == sum(tokens) * 8
    assert result.rasters["encoder.blocks.0.attention.neuron"].shape == (tokens[1], 8)
    report = energy_report(result, model, beam=3)
    decoder = next(row for row in result.parts["decoder"] if row.kind == "weights")
    assert decoder.macs == 10 * 8 * 7
    assert report["parts"]["decoder"]["paper"] == pytest.approx(3 * decoder.macs * 4.6e-6 / 1.04)
    assert report["encoder"]["full"] == pytest.approx(energy(result.parts["encoder"])["full"] * 1e-6 / 1.04)
    assert report["model"]["full"] == pytest.approx(sum(part["full"] for part in report["parts"].values()))
    assert (report["operations_not_known"], report["neurons_that_never_ran"]) == ({}, [])


def test_files_and_pictures(measured, tmp_path):
    pytest.importorskip("matplotlib")
    model, result, _ = measured
    files = write_profile(result, energy_report(result, model, beam=3), tmp_path)
    assert sorted(file.name for file in files) == sorted(file.name for file in tmp_path.iterdir())
    assert json.loads((tmp_path / "energy.json").read_text())["beam"] == 3
    with open(tmp_path / "spikes.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["name"] for row in rows] == list(result.layers)
    assert sum(int(row["spikes"]) for row in rows) == sum(layer.spikes for layer in result.layers.values())
    for picture in ("firing_rates.png", "raster.png"):
        data = (tmp_path / picture).read_bytes()
        assert data.startswith(PNG) and len(data) < 200_000


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
    (tmp_path / "train.log").write_text(LOG)
    first, second = read_epochs(tmp_path / "train.log")
    assert (first["epoch"], first["train"]["loss"], first["train"]["seconds"]) == (1, 3420.0, 90.5)
    assert first["train"]["gpu_max_cached_mem_GB"] == 1.5
    assert (first["valid"]["cer_ctc"], first["valid"]["seconds"]) == (0.9, 2.5)
    assert first["valid"]["loss"] != first["valid"]["loss"]
    assert (second["train"]["loss"], second["train"]["seconds"]) == (7.0, 3725.0)
    assert peak_memory_mb(tmp_path / "train.log") == 512


def test_logs_that_the_launcher_has_put_aside_come_first(tmp_path):
    for number, text in ((".10", "a"), (".2", "b"), (".1", "half a li"), ("", "c\n"), (".x", "no")):
        (tmp_path / f"train{number}.log").write_text(text)
    assert read_log(tmp_path / "train.log").split("\n") == ["a", "b", "half a li", "c", ""]


def test_learning_curves(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "train.log").write_text(LOG)
    epochs = read_epochs(tmp_path / "train.log")
    plot_learning_curves({"quick": epochs, "quick_ann": epochs}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    (tmp_path / "train.log").write_text("nothing yet\n")
    assert read_epochs(tmp_path / "train.log") == []
    assert peak_memory_mb(tmp_path / "train.log") is None
