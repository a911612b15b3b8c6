"""Spikes, operations, energy and time of a voice that speaks real texts, by its modules.

The modules are those of `MODULES`; `mel` is the read-out of the decoder, with the sums between the modules.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from imlspike.analysis.energy import Costs
from imlspike.analysis.plots import plot_rates_by_module
from imlspike.analysis.profiling import Profile, energy_report, measure, real_time
from imlspike.analysis.spikes import LayerSpikes, overall_rate, rates_out_of_range
from imlspike.models.spikevoice import SpikeVoice
from imlspike.models.spikevoice_blocks import default_attention

MODULES = ("encoder", "adaptor", "decoder", "mel", "postnet")
BETWEEN = "between the modules"
_MODULE_OF = {"embedding": "encoder", "speakers": "encoder", "mel_neuron": "mel", BETWEEN: "mel"}


@dataclass(frozen=True)
class Sentence:
    """One text to speak: its name, symbols (N,) int64, and for a model with speakers the speaker's number."""

    utterance: str
    tokens: Tensor
    speaker: int | None = None


def for_inference(model: SpikeVoice) -> SpikeVoice:
    """The model as it speaks: batch norms folded, without the aligner, which is a training aid; in place.

    >>> voice = for_inference(SpikeVoice(9, dim=16, hidden_dim=16, postnet_layers=0))
    >>> voice.aligner is None, voice.training
    (True, False)
    """
    model.reparameterize()
    model.aligner = None
    return model


def profile_voice(
    model: SpikeVoice,
    sentences: Iterable[Sentence],
    frame_rate: float,
    raster_of: str = "",
    progress: Callable[[int], None] = lambda done: None,
) -> Profile:
    """Free synthesis of sentences one by one, counted from symbols to the mel behind the PostNet.

    Durations, pitch and energy are predicted, and seconds are those of the speech that comes out. What undoes
    the normalisation of the mel, and the vocoder, are not part of the voice and not counted.

    Args:
        model: see `for_inference`; on the CPU.
        sentences: what to say.
        frame_rate: frames of the mel a second.
        raster_of, progress: as for `imlspike.analysis.profiling.measure`.

    Returns:
        The profile, its parts some of `MODULES`. The rasters (L or 1, channels) are all in the frames of the
        speech: the spikes of a symbol stand at each of its frames.

    >>> model = for_inference(SpikeVoice(9, dim=16, hidden_dim=16, encoder_layers=1, decoder_layers=1))
    >>> result = profile_voice(model, [Sentence("a", torch.tensor([3, 7, 1]))], frame_rate=62.5)
    >>> list(result.parts)
    ['encoder', 'adaptor', 'decoder', 'mel', 'postnet']
    """
    durations = {}

    def run(sentence: Sentence) -> float:
        spoken = _speak(model, sentence)
        durations[sentence.utterance] = spoken.durations[0]
        return int(spoken.mel_lengths) / frame_rate

    result = measure(model, run, sentences, raster_of, progress)
    parts = {module: [] for module in MODULES}
    for rows in result.parts.values():
        for row in rows:
            row = replace(row, name=row.name or BETWEEN)
            parts[module_of(row.name)].append(row)
    result.parts = {module: rows for module, rows in parts.items() if rows}
    of_symbols = durations[result.raster_of]
    result.rasters = {
        name: _in_frames(counts, not model.get_submodule(name).stateful, of_symbols)
        for name, counts in result.rasters.items()
    }
    return result


def _speak(model: SpikeVoice, sentence: Sentence):
    speaker = None if sentence.speaker is None else torch.tensor([sentence.speaker])
    return model(sentence.tokens[None], torch.tensor([len(sentence.tokens)]), speaker=speaker)


def _in_frames(counts: Tensor, one_pass: bool, durations: Tensor) -> Tensor:
    """Counts of one utterance, (1, N or L or 1, ...) or with a time axis of length 1 in front -> (L or 1, C).

    Symbols and frames are told apart by their number; where both are alike, so are symbols and frames.
    """
    counts = (counts[0] if one_pass else counts)[0].flatten(1)
    return counts.repeat_interleave(durations, 0) if len(counts) == len(durations) > 1 else counts


def module_of(name: str) -> str:
    """The module that a layer belongs to, by its place in the network.

    >>> module_of("decoder.blocks.0.neuron"), module_of("mel_neuron")
    ('decoder', 'mel')
    """
    first = name.partition(".")[0]
    return _MODULE_OF.get(first, first)


def by_module(layers: Mapping[str, LayerSpikes]) -> dict[str, dict[str, LayerSpikes]]:
    """Neuron layers by the module that they belong to."""
    found: dict[str, dict[str, LayerSpikes]] = {}
    for name, layer in layers.items():
        found.setdefault(module_of(name), {})[name] = layer
    return found


def speaking_speed(model: SpikeVoice, sentences: Sequence[Sentence], frame_rate: float) -> dict:
    """`real_time` of symbols to mel, a sentence at a time."""
    return real_time(lambda sentence: int(_speak(model, sentence).mel_lengths) / frame_rate, sentences)


def voice_report(measured: Profile, model: SpikeVoice, costs: Costs = Costs()) -> dict:  # noqa: B008
    """The content of a voice's energy.json: as a recogniser's, for "decoder" and "model", and besides:

    ==================  ==================================================================================
    modules             module to ``{"layers", "rate", "layer_rate", "spikes_per_second", "parameters"}``
    layer_rate          mean of the neuron layers' firing rates, each layer alike
    rates_out_of_range  `imlspike.analysis.spikes.rates_out_of_range`
    neuron, steps,      of the model's configuration
    attention
    ==================  ==================================================================================
    """
    report = energy_report(measured, model, costs=costs, scope="decoder")
    layers, config = by_module(measured.layers), model.config
    parameters = dict.fromkeys(MODULES, 0)
    for name, child in model.named_children():
        parameters[module_of(name)] += sum(p.numel() for p in child.parameters())
    spiking = config["neuron"] != "none"
    return report | {
        "modules": {
            module: _rates(layers.get(module, {}), measured.seconds) | {"parameters": parameters[module]}
            for module in measured.parts
        },
        "layer_rate": _rates(measured.layers, measured.seconds)["layer_rate"],
        "rates_out_of_range": rates_out_of_range(measured.layers, model),
        "neuron": config["neuron"],
        "steps": config["steps"] if spiking else None,
        "attention": config["attention"] or default_attention(config["neuron"]),
    }


def _rates(layers, seconds):
    rates = [layer.rate for layer in layers.values()]
    return {
        "layers": len(rates),
        "rate": overall_rate(layers) if rates else None,
        "layer_rate": sum(rates) / len(rates) if rates else None,
        "spikes_per_second": sum(layer.spikes for layer in layers.values()) / seconds,
    }


def plot_voice_rates(model: SpikeVoice, layers: Mapping[str, LayerSpikes], path) -> None:
    """Firing rates of all layers, a panel a module: `plot_rates_by_module`."""
    panels = {}
    for module, found in by_module(layers).items():
        roles = panels[f"{module}: {100 * overall_rate(found):.1f} %"] = {}
        for name, layer in found.items():
            role, depth = role_of(name, model)
            roles.setdefault(role, []).append((depth, layer))
    plot_rates_by_module(panels, path)


def role_of(name: str, model: SpikeVoice) -> tuple[str, int]:
    """What a neuron layer does in its module, and how deep in it it stands.

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
