"""Spikes, operations, energy and time of a vocoder on real utterances."""

from collections.abc import Callable, Iterable, Sequence

import torch

from imlspike.analysis.energy import Costs, scope_of
from imlspike.analysis.profiling import Heard, Profile, energy_report, measure, real_time
from imlspike.analysis.spikes import rates_out_of_range
from imlspike.analysis.vocoder_energy import spiking_vocos_energy
from imlspike.models.spiking_vocos import SpikingVocos
from imlspike.neurons import NEURONS

BLOCKS = "backbone.blocks."


def profile_vocoder(
    model: SpikingVocos,
    utterances: Iterable[Heard],
    raster_of: str = "",
    progress: Callable[[int], None] = lambda done: None,
) -> Profile:
    """Copy-synthesis of utterances one by one, counted from the mel spectrogram to the waveform.

    The mel spectrogram itself is the front end, which costs the same for all, and is not counted.

    Args:
        model: in evaluation mode, on the CPU.
        utterances, raster_of, progress: as for `imlspike.analysis.profiling.measure`.

    >>> model = SpikingVocos(16000, 512, 128, 40, dim=8, intermediate_dim=16, num_layers=1).eval()
    >>> result = profile_vocoder(model, [Heard("a", 0.1, torch.randn(1600))])
    >>> list(result.parts), list(result.layers)
    (['backbone', 'head'], ['backbone.blocks.0.neuron1', 'backbone.blocks.0.neuron2'])
    """

    def run(heard: Heard) -> float:
        if len(heard.wave) <= model.config["n_fft"] // 2:
            return 0.0
        model(model.features(heard.wave[None]))
        return heard.seconds

    return measure({"backbone": model.backbone, "head": model.head}, run, utterances, raster_of, progress)


@torch.no_grad()
def decoding_speed(model: SpikingVocos, waves: Sequence[torch.Tensor]) -> dict:
    """`real_time` of mel spectrogram to waveform, one utterance (S,) at a time."""
    mels = [model.features(wave[None]) for wave in waves]
    return real_time(lambda mel: model(mel).shape[-1] / model.sampling_rate, mels)


def vocoder_report(measured: Profile, model: SpikingVocos, costs: Costs = Costs()) -> dict:  # noqa: B008
    """The content of a vocoder's energy.json: as a recogniser's, for "backbone" and "model", and besides:

    ==================  =============================================================================
    blocks              the figures of the ConvNeXt blocks alone; "paper" is then what table 3 counts
    layer_rate          mean of the neuron layers' firing rates, each layer alike: r of equation 16
    table_3             equations 15 and 16 with that rate: pJ at L = 1000 (ANN or time steps)
    rates_out_of_range  see the function of that name
    ==================  =============================================================================
    """
    config = model.config
    report = energy_report(measured, model, costs=costs, scope="backbone")
    blocks = [row for row in measured.parts["backbone"] if row.name.startswith(BLOCKS)]
    rates = [layer.rate for layer in measured.layers.values()]
    report["neuron"] = config["neuron"]
    report["steps"] = None if config["neuron"] == "none" else config["steps"]
    report["blocks"] = scope_of(blocks, measured.seconds, costs)
    report["layer_rate"] = sum(rates) / len(rates) if rates else None
    report["table_3"] = None
    if config["neuron"] == "none" or NEURONS[config["neuron"]].stateful:  # as in the equations
        sizes = {key: config[key] for key in ("dim", "intermediate_dim", "num_layers", "n_mels", "n_fft")}
        rate, steps = report["layer_rate"], report["steps"] or 1
        energy = spiking_vocos_energy(1000, rate, steps, costs=costs, **sizes)
        report["table_3"] = {"blocks": energy.blocks, "model": energy.model}
    report["rates_out_of_range"] = rates_out_of_range(measured.layers, model)
    return report
