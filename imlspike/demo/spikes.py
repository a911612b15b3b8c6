"""Figures of the page beside the text: spikes of each layer, and what turns their counts into energy."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from imlspike.evaluation.energy import energy
from imlspike.evaluation.operations import OperationCounter, Operations
from imlspike.evaluation.spikes import LayerSpikes, SpikeRecorder, spiking_neurons
from imlspike.inference.recognizer import Recognizer

SHOWN = ("int8_bitwise", "dense_int8", "rival", "rival_skipping")
SHOWN += ("memory", "memory_tiles", "dense_memory", "rival_memory")
LENGTHS = (1.0, 2.5, 5.0, 5.2, 6.1, 6.3, 7.6, 7.8, 10.1, 10.4, 12.7)  # s; where the cost of attention steps


class Watched(nn.Module):
    """A recognizer's graph that also gives out its spikes.

    Args:
        model: waveform (1, S) -> log-probabilities (1, N, V).
        encoder: inside it, whose neurons are watched.

    Attributes:
        layers: {"name", "levels", "channels"} of each spiking neuron, in the order of first use, once it ran;
            channels 0: of other frames than the N tokens, not among `counts`.

    Forward: waveform (1, S) -> log-probabilities (1, N, V), counts (N, C) uint8 of all layers' channels, and
    histogram (J, T) float: values of each of J layers with 1, 2, ... T spikes.
    """

    def __init__(self, model: nn.Module, encoder: nn.Module):
        super().__init__()
        self.model, self.layers, self._found = model, [], []
        for name, neuron in spiking_neurons(encoder).items():
            told = {"name": f"encoder.{name}", "levels": neuron.levels}
            neuron.register_forward_hook(
                lambda m, args, out, told=told: self._found.append((told, m, args, out))
            )

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self._found.clear()
        log_probs = self.model(waveform)
        self.layers.clear()
        counts, histograms = [], []
        most = max(told["levels"] for told, *_ in self._found)
        for told, neuron, args, out in self._found:
            fired = out if neuron.unit else neuron.encode(*args)[0]
            inside = told["name"].startswith("encoder.blocks.")
            self.layers.append(told | {"channels": int(fired.shape[-1]) if inside else 0})
            histograms.append(torch.stack([(fired == k).float().sum() for k in range(1, most + 1)]))
            if inside:
                counts.append(fired.reshape(-1, fired.shape[-1]).to(torch.uint8))
        return log_probs, torch.cat(counts, -1), torch.stack(histograms)


def energy_table(recognizer: Recognizer, lengths: Sequence[float] = LENGTHS) -> dict:
    """Energy of an utterance of so many seconds by the `SHOWN` figures, as a function of its spikes.

    Counted on noise of several lengths by `OperationCounter`: encoder and CTC head, no front end. What maps
    and convolutions do for each spike is exact; the attention's own accumulates are those of the noise.

    Returns:
        ``{"seconds": lengths, "base": {figure: microjoules for each length, without the spikes' share},
        "prices": {layer: {figure: microjoules for "spikes", "ones" and "fired"}}}``
    """
    network = nn.ModuleDict({"encoder": recognizer.encoder, "ctc": recognizer.ctc})
    table: dict = {"seconds": list(lengths), "base": {figure: [] for figure in SHOWN}, "prices": {}}
    for seconds in lengths:
        recorder, counter = SpikeRecorder(network), OperationCounter(network)
        with recorder, counter:
            recognizer([noise(seconds, recognizer.sampling_rate)])
        table["prices"] = prices(counter, recorder.layers)
        total = energy(counter.rows.values())
        share = of_spikes(table["prices"], {name: amounts(layer) for name, layer in recorder.layers.items()})
        for figure in SHOWN:
            table["base"][figure].append(total[figure] * 1e-6 - share[figure])
    return table


def prices(counter: OperationCounter, layers: dict[str, LayerSpikes]) -> dict[str, dict]:
    """Energies of a spike, a one of its binary code and a value that fires; maps read the neuron before."""
    found: dict[str, dict] = {}
    reader = None
    for row in counter.rows.values():
        if row.kind == "neuron":
            reader = row.name
            found[reader] = {"connections": 0.0, "bits": layers[reader].levels.bit_length()}
        elif row.kind == "weights" and row.accumulates and reader:
            found[reader]["connections"] += row.accumulates / max(layers[reader].spikes, 1)
    result = {}
    for name, about in found.items():
        one, bits = about["connections"], about["bits"]
        subtraction = Operations("", "neuron", bitwise_additions=1)
        each = {
            "spikes": [Operations("", "neuron", additions=1)],
            "ones": [Operations("", "weights", bitwise=one, bits=bits), subtraction],
            "fired": [Operations("", "weights", events=one, bits=bits)],
        }
        costs = {amount: energy(rows) for amount, rows in each.items()}
        result[name] = {f: {a: pj[f] * 1e-6 for a, pj in costs.items() if pj[f]} for f in SHOWN}
        result[name] = {figure: by_amount for figure, by_amount in result[name].items() if by_amount}
    return result


def amounts(layer: LayerSpikes) -> dict[str, int]:
    """Spikes, ones of the counts in binary, and values that fire at all."""
    row = layer.row()
    return {"spikes": row["spikes"], "ones": row["ones"], "fired": row["neurons"] - layer.histogram[0]}


def of_spikes(table: dict[str, dict], fired: dict[str, dict[str, int]]) -> dict[str, float]:
    """Microjoules of each figure that spikes cause; `app.js` computes the same."""
    total = dict.fromkeys(SHOWN, 0.0)
    for layer, figures in table.items():
        for figure, by_amount in figures.items():
            total[figure] += sum(price * fired[layer][amount] for amount, price in by_amount.items())
    return total


def noise(seconds: float, sampling_rate: int) -> Tensor:
    """Noise that comes and goes four times a second, with less power at high frequencies, as speech has."""
    generator = np.random.default_rng(0)
    samples = int(seconds * sampling_rate)
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    hertz = np.linspace(0, sampling_rate / 2, len(spectrum))
    time = np.arange(samples) / sampling_rate
    wave = np.fft.irfft(spectrum / (1 + hertz / 500), samples) * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time))
    return torch.from_numpy(0.1 * wave).float()
