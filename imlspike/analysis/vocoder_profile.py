"""Spikes, operations, energy and time of a vocoder on real utterances."""

import time
from collections.abc import Callable, Iterable, Sequence

import torch

from imlspike.analysis.energy import Costs, scope_of
from imlspike.analysis.profiling import Heard, Profile, energy_report, measure
from imlspike.analysis.vocoder_energy import spiking_vocos_energy
from imlspike.models.spiking_vocos import SpikingVocos
from imlspike.neurons import LIF

LEAST_RATE, MOST_RATE = 0.005, 0.6  # beyond these a layer is taken for dead, or for saying nothing
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

    def run(heard: Heard) -> bool:
        if len(heard.wave) <= model.config["n_fft"] // 2:
            return False
        model(model.features(heard.wave[None]))
        return True

    return measure({"backbone": model.backbone, "head": model.head}, run, utterances, raster_of, progress)


@torch.no_grad()
def decoding_speed(model: SpikingVocos, waves: Sequence[torch.Tensor]) -> dict:
    """Wall-clock time of mel spectrogram to waveform, one utterance (S,) at a time; the first warms up.

    Returns:
        ``{"seconds", "audio_seconds", "seconds_per_second", "threads"}``.
    """
    mels = [model.features(wave[None]) for wave in waves]
    model(mels[0])
    begin = time.perf_counter()
    samples = sum(model(mel).shape[-1] for mel in mels)
    seconds, audio = time.perf_counter() - begin, samples / model.sampling_rate
    speed = {"seconds": seconds, "audio_seconds": audio, "seconds_per_second": seconds / audio}
    return speed | {"threads": torch.get_num_threads()}


def vocoder_report(measured: Profile, model: SpikingVocos, costs: Costs = Costs()) -> dict:  # noqa: B008
    """The content of a vocoder's energy.json: as a recogniser's, for "backbone" and "model", and besides:

    ==================  =============================================================================
    blocks              the figures of the ConvNeXt blocks alone; "paper" is then what table 3 counts
    layer_rate          mean of the neuron layers' firing rates, each layer alike: r of equation 16
    table_3             equations 15 and 16 with that rate: pJ at L = 1000 (not for the IMLS neuron)
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
    if config["neuron"] != "imls":
        sizes = {key: config[key] for key in ("dim", "intermediate_dim", "num_layers", "n_mels", "n_fft")}
        rate, steps = report["layer_rate"], report["steps"] or 1
        energy = spiking_vocos_energy(1000, rate, steps, costs=costs, **sizes)
        report["table_3"] = {"blocks": energy.blocks, "model": energy.model}
    report["rates_out_of_range"] = rates_out_of_range(measured, model)
    return report


def rates_out_of_range(measured: Profile, model: SpikingVocos) -> dict[str, dict]:
    """Neuron layers whose firing rate lies outside 0.5 % to 60 %, and what may tell why.

    Returns:
        Layer to ``{"rate", "largest_input", "least_that_fires"}``: the largest input that it saw, and for LIF
        and PLIF `least_current`: a layer whose inputs stay below cannot fire.
    """
    odd = {}
    for name, layer in measured.layers.items():
        if not LEAST_RATE < layer.rate < MOST_RATE:
            neuron = model.get_submodule(name)
            least = least_current(neuron, layer.levels) if isinstance(neuron, LIF) else None
            odd[name] = {
                "rate": layer.rate,
                "largest_input": layer.largest_input,
                "least_that_fires": least,
            }
    return odd


def least_current(neuron: LIF, steps: int) -> float:
    """The smallest constant input with which a LIF or PLIF fires within T steps, from rest.

    Without a spike the potential of equation 1 is V_re + x (1 - (1 - 1 / tau)^T) after T steps; it has to
    reach V_th. No sequence of inputs that are all smaller makes it fire.

    >>> round(least_current(LIF(tau=2.0), steps=4), 4)
    1.0667
    """
    rest, leak = neuron.v_reset or 0.0, 1 / neuron.tau
    reached = 1 - (1 - leak) ** steps
    if not neuron.decay_input:  # the sum of what is left of each step's input
        reached = reached / leak if leak else steps
    return (neuron.threshold - rest) / reached
