"""One measurement of a recognizer, voice or vocoder on real utterances: spikes, operations, energy, time.

`recognizer`, `voice` and `vocoder` make a `System` of a model, `profile` runs it and counts, `energy_report`
is the content of energy.json, `write_profile` writes all.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from imlspike.evaluation.energy import (
    HOROWITZ,
    Costs,
    energy,
    for_beam,
    log_mel,
    scope_of,
    spiking_vocos_energy,
    summarize,
)
from imlspike.evaluation.operations import OperationCounter, Operations
from imlspike.evaluation.plots import plot_firing_rates, plot_raster
from imlspike.evaluation.spikes import LayerSpikes, SpikeRecorder, rates_out_of_range
from imlspike.evaluation.tables import write_files, write_table
from imlspike.models.spikevoice import SpikeVoice
from imlspike.models.spikevoice_blocks import default_attention
from imlspike.models.spiking_vocos import SpikingVocos
from imlspike.neurons import NEURONS

BETWEEN = "between the modules"
VOICE_MODULES = ("encoder", "adaptor", "decoder", "mel", "postnet")
_VOICE_MODULE_OF = {"embedding": "encoder", "speakers": "encoder", "mel_neuron": "mel", BETWEEN: "mel"}


class Heard(NamedTuple):
    """One utterance: name, length in seconds, samples (S,); for a recognizer tokens, <sos> in front (N,)."""

    utterance: str
    seconds: float
    wave: Tensor
    tokens: Tensor = torch.zeros(0, dtype=torch.long)


class Sentence(NamedTuple):
    """One text to speak: its name, symbols (N,) int64, and for a model with speakers the speaker's number."""

    utterance: str
    tokens: Tensor
    speaker: int | None = None


@dataclass
class Profile:
    """Measurements of `profile`."""

    layers: dict[str, LayerSpikes] = field(default_factory=dict)
    parts: dict[str, list[Operations]] = field(default_factory=dict)  # a decoder's: of one hypothesis
    seconds: float = 0.0
    utterances: int = 0
    tokens: int = 0  # with the end of each sentence
    rasters: dict[str, Tensor] = field(default_factory=dict)  # spike counts of one utterance, by layer
    raster_of: str = ""
    raster_seconds: float = 0.0
    too_short: list[str] = field(default_factory=list)  # utterances that did not reach the network
    unknown: Counter = field(default_factory=Counter)  # operations that the counter did not know
    forms: Counter = field(default_factory=Counter)  # in which attention under a decay mask was counted
    silent: list[str] = field(default_factory=list)  # neurons that never ran


@dataclass
class System:
    """A network with what runs it."""

    model: nn.Module  # in evaluation mode, re-parameterised layers folded, on the CPU
    network: nn.Module  # what is counted: the model, or some of its parts by their names
    run: Callable[[Any], float]  # one utterance to the seconds of its audio; 0: too short for the network
    scope: str  # the part that is reported beside the whole model
    about: dict = field(default_factory=dict)  # what energy.json tells of the model
    # The log-mel spectrogram that it reads, if it reads one: frames a second, n_fft, bands.
    front_end: tuple[float, int, int] | None = None
    time_steps: int = 1  # T of neurons that carry a state
    # The part that a module belongs to, from its name.
    part_of: Callable[[str], str] = lambda name: name.partition(".")[0]
    # From an utterance's name and a layer's name and counts: these in the frames of the audio.
    in_frames: Callable[[str, str, Tensor], Tensor] = lambda utterance, layer, counts: counts
    # Further keys of energy.json, from what is reported so far.
    more: Callable[[Profile, Mapping, Costs], dict] = lambda measured, report, costs: {}


def recognizer(model: nn.Module, transcribe: Callable[[Tensor], object]) -> System:
    """A recognizer: its encoder and CTC head on the samples, its decoder once over the transcript.

    Args:
        model: with attributes `encoder`, `ctc` and `decoder` (or None) as ESPnet's models have them.
        transcribe: runs the encoder and the CTC head on one utterance's samples (S,).
    """
    parts = {name: part for name in ("encoder", "ctc", "decoder") if (part := getattr(model, name, None))}
    encoded: list = []

    def run(heard: Heard) -> float:
        encoded.clear()
        handle = parts["encoder"].register_forward_hook(lambda module, args, output: encoded.append(output))
        try:
            transcribe(heard.wave)
        finally:
            handle.remove()
        if encoded and "decoder" in parts:
            memory, lengths = encoded[0][:2]
            memory = memory[0] if isinstance(memory, tuple) else memory  # with intermediate CTC
            parts["decoder"](memory, lengths, heard.tokens[None], torch.tensor([len(heard.tokens)]))
        return heard.seconds if encoded else 0.0

    front_end = None
    if features := getattr(model, "features", None):
        hop, n_fft = (features.stft[key] for key in ("hop_length", "n_fft"))
        front_end = features.sampling_rate / hop, n_fft, features.n_mels
    return System(model, nn.ModuleDict(parts), run, "encoder", front_end=front_end)


def vocoder(model: SpikingVocos) -> System:
    """A vocoder: mel spectrogram, which is the front end and stands alone, to waveform.

    Further keys of energy.json: "blocks", the figures of the ConvNeXt blocks alone ("paper" is then what
    table 3 of Spiking Vocos counts); "table_3", equations 15 and 16 with r = "layer_rate": pJ at L = 1000.
    """

    def run(heard: Heard) -> float:
        if len(heard.wave) <= model.config["n_fft"] // 2:
            return 0.0
        model(model.features(heard.wave[None]))
        return heard.seconds

    def more(measured: Profile, report: Mapping, costs: Costs) -> dict:
        blocks = [row for row in measured.parts["backbone"] if row.name.startswith("backbone.blocks.")]
        table_3 = None
        if config["neuron"] == "none" or NEURONS[config["neuron"]].stateful:  # as in the equations
            sizes = {key: config[key] for key in ("dim", "intermediate_dim", "num_layers", "n_mels", "n_fft")}
            rate, steps = report["layer_rate"], report["steps"] or 1
            found = spiking_vocos_energy(1000, rate, steps, costs=costs, **sizes)
            table_3 = {"blocks": found.blocks, "model": found.model}
        return {"blocks": scope_of(blocks, measured.seconds, costs), "table_3": table_3}

    config = model.config
    network = nn.ModuleDict({"backbone": model.backbone, "head": model.head})
    front_end = config["sampling_rate"] / config["hop_length"], config["n_fft"], config["n_mels"]
    told = dict(front_end=front_end, time_steps=_time_steps(config))
    return System(model, network, run, "backbone", _about(config), more=more, **told)


def voice(model: SpikeVoice, frame_rate: float) -> System:
    """A voice that speaks freely: symbols to the mel behind the PostNet, with predicted durations, pitch and
    energy; seconds are those of the speech that comes out, at `frame_rate` frames of the mel a second.

    Batch norms are folded and the aligner, a training aid, is taken out, in place; the vocoder isn't counted.
    The parts are `VOICE_MODULES`; "mel" is the read-out of the decoder, with the sums between the modules. In
    rasters (L or 1, channels) a symbol's spikes stand at each of its frames.
    """
    model.reparameterize()
    model.aligner = None
    durations: dict[str, Tensor] = {}

    def run(sentence: Sentence) -> float:
        speaker = None if sentence.speaker is None else torch.tensor([sentence.speaker])
        spoken = model(sentence.tokens[None], torch.tensor([len(sentence.tokens)]), speaker=speaker)
        durations[sentence.utterance] = spoken.durations[0]
        return int(spoken.mel_lengths) / frame_rate

    def in_frames(utterance: str, layer: str, counts: Tensor) -> Tensor:
        # Symbols and frames are told apart by their number; where both are alike, so are symbols and frames.
        own = durations[utterance]
        counts = (counts if model.get_submodule(layer).stateful else counts[0])[0].flatten(1)
        return counts.repeat_interleave(own, 0) if len(counts) == len(own) > 1 else counts

    def part_of(name: str) -> str:
        first = name.partition(".")[0]
        return _VOICE_MODULE_OF.get(first, first)

    attention = model.config["attention"] or default_attention(model.config["neuron"])
    about = _about(model.config) | {"attention": attention}
    told = dict(part_of=part_of, in_frames=in_frames, time_steps=_time_steps(model.config))
    return System(model, model, run, "decoder", about, **told)


def _about(config: Mapping) -> dict:
    return {"neuron": config["neuron"], "steps": None if config["neuron"] == "none" else config["steps"]}


def _time_steps(config: Mapping) -> int:
    neuron = NEURONS.get(config["neuron"])
    return config["steps"] if neuron is not None and neuron.stateful else 1


def profile(
    system: System,
    utterances: Iterable,
    raster_of: str = "",
    progress: Callable[[int], None] = lambda done: None,
) -> Profile:
    """Run a system on utterances (`Heard`, of a voice `Sentence`) one by one and count all that happens.

    The spikes of `raster_of` are kept, or of the first one that runs if it is empty or too short; `progress`
    gets the number of utterances that are done. ValueError if there is no utterance, or all were too short.
    """
    result = Profile()
    # The recorder's hooks must come first: the counter looks away while a neuron and its hooks run.
    counting = OperationCounter(system.network, system.time_steps)
    with SpikeRecorder(system.network) as recorder, counting as counter:
        for item in utterances:
            recorder.keep = item.utterance == raster_of or not result.utterances
            seconds = system.run(item)
            if not seconds:
                result.too_short.append(item.utterance)
                continue
            if recorder.keep:
                result.raster_of, result.raster_seconds = item.utterance, seconds
            result.seconds += seconds
            result.utterances += 1
            result.tokens += len(item.tokens)
            progress(result.utterances)
    if not result.utterances:
        short = " ".join(result.too_short) or "none"
        raise ValueError(f"no utterance to profile; too short for the network: {short}")
    rows = [row if row.name else replace(row, name=BETWEEN) for row in counter.rows.values()]
    for part in dict.fromkeys([*VOICE_MODULES, *(system.part_of(row.name) for row in rows)]):
        if own := [row for row in rows if system.part_of(row.name) == part]:
            result.parts[part] = own
    result.layers, result.unknown, result.silent = recorder.layers, counter.unknown, recorder.silent()
    result.forms = counter.forms
    for name, counts in recorder.rasters.items():
        result.rasters[name] = system.in_frames(result.raster_of, name, counts)
    return result


def energy_report(
    measured: Profile, system: System, beam: int | None = None, costs: Costs = HOROWITZ
) -> dict:
    """The content of energy.json: what `imlspike.evaluation.energy.summarize` gives and what it rests on.

    ``modules`` is part to ``{"layers", "rate", "layer_rate", "spikes_per_second", "parameters"}``;
    ``firing_rate`` spikes over those possible, ``layer_rate`` the mean over the layers, each layer alike.
    ``front_end``: microjoules per second of audio of the log-mel spectrogram, an estimate, in no scope.
    ``beam``: hypotheses that a recognizer's decoder carries; None for what has no beam.
    """
    parts = dict(measured.parts)
    if beam is not None and "decoder" in parts:
        parts["decoder"] = for_beam(parts["decoder"], beam)
    children = {name: sum(p.numel() for p in c.parameters()) for name, c in system.model.named_children()}
    modules = {}
    for part in parts:
        own = [layer for name, layer in measured.layers.items() if system.part_of(name) == part]
        size = sum(n for name, n in children.items() if system.part_of(name) == part)
        modules[part] = _rates(own, measured.seconds) | {"parameters": size}
    layers, front_end = list(measured.layers.values()), system.front_end
    whole, neurons = _rates(layers, measured.seconds), sum(layer.neurons for layer in layers)
    report = {
        **summarize(parts, measured.seconds, costs, system.scope),
        **system.about,
        "front_end": front_end and 1e-6 * energy([log_mel(*front_end)], costs)["full"],
        "attention_forms": dict(measured.forms),
        "utterances": measured.utterances,
        "tokens": measured.tokens,
        "beam": beam if "decoder" in parts else None,
        "firing_rate": whole["rate"],
        "layer_rate": whole["layer_rate"],
        "mean_count": sum(layer.spikes for layer in layers) / neurons if neurons else None,
        "parameters": {system.scope: children[system.scope], "model": sum(children.values())},
        "modules": modules,
        "rates_out_of_range": rates_out_of_range(measured.layers, system.model),
        "too_short": measured.too_short,
        "neurons_that_never_ran": measured.silent,
        "operations_not_known": dict(measured.unknown),
    }
    return report | system.more(measured, report, costs)


def _rates(layers: Sequence[LayerSpikes], seconds: float) -> dict:
    possible, spikes = (sum(layer.neurons * layer.levels for layer in layers), sum(x.spikes for x in layers))
    return {
        "layers": len(layers),
        "rate": spikes / possible if layers else None,
        "layer_rate": sum(layer.rate for layer in layers) / len(layers) if layers else None,
        "spikes_per_second": spikes / seconds,
    }


@torch.no_grad()
def real_time(run: Callable[[Any], float], inputs: Sequence, runs: int = 3) -> dict:
    """Wall-clock time of `run` (which tells seconds of audio) on all inputs in turn, the smallest of `runs`;
    the first input warms up. "load": mean number of processes that wanted to run, of the last minute."""
    run(inputs[0])
    timings = []
    for _ in range(runs):
        begin = time.perf_counter()
        audio = sum(map(run, inputs))
        timings.append(time.perf_counter() - begin)
    speed = {"seconds": min(timings), "audio_seconds": audio, "seconds_per_second": min(timings) / audio}
    return speed | {"runs": runs, "load": os.getloadavg()[0], "threads": torch.get_num_threads()}


def write_profile(measured: Profile, report: dict, system: System, output_dir) -> list[Path]:
    """Write spikes.{txt,json}, operations.{txt,json}, energy.json, firing_rates.png and raster.png.

    Without spiking layers there are no spike tables and no pictures. Returns the files.
    """
    output_dir = Path(output_dir)
    rows = [asdict(row) for part in measured.parts.values() for row in part]
    files = write_table(output_dir / "operations", rows)
    if measured.layers:
        files += write_table(output_dir / "spikes", [layer.row() for layer in measured.layers.values()])
        pictures = output_dir / "firing_rates.png", output_dir / "raster.png"
        panels: dict[str, dict[str, list]] = {}
        for name, layer in measured.layers.items():
            role, depth = role_of(name, system.model)
            panels.setdefault(system.part_of(name), {}).setdefault(role, []).append((depth, layer))
        plot_firing_rates(panels, pictures[0])
        title = f"{measured.raster_of}, {measured.raster_seconds:.1f} s"
        plot_raster(measured.rasters, measured.raster_seconds, pictures[1], title)
        files += pictures
    return files + write_files({output_dir / "energy.json": report})


def role_of(name: str, model: nn.Module) -> tuple[str, int]:
    """Role of a neuron layer in its part of the network, and its depth there.

    >>> model = SpikeVoice(9, dim=16, hidden_dim=16)
    >>> role_of("decoder.blocks.2.mixers.0.gate_neuron", model), role_of("adaptor.pitch.neurons.1", model)
    (('temporal gate_neuron', 2), ('pitch', 1))
    """
    first, *path = places = name.split(".")
    depth = next((int(word) for word in path if word.isdigit()), 0)
    words = [word for word in path if not word.isdigit() and word not in ("blocks", "neurons")]
    if "mixers" in words:
        mixer = model.get_submodule(".".join(places[: places.index("mixers") + 2]))
        words[words.index("mixers")] = getattr(mixer, "axis", "softmax")
    return " ".join(words) or first, depth
