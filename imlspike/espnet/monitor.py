"""Attention maps, spike rates and thresholds of our layers in what ESPnet's trainer reports."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from espnet2.main_funcs.calculate_all_attentions import calculate_all_attentions as espnets
from torch import Tensor, nn

from imlspike.layers import DecayAttention
from imlspike.layers.cross_attention import SpikingCrossAttention
from imlspike.neurons import Neuron, RateCoded


def calculate_all_attentions(model: nn.Module, batch: dict[str, Any]) -> dict[str, list[Tensor]]:
    """ESPnet's, with the maps of decay attention and spiking cross-attention: (H, N, N) or (H, N, M) for each
    utterance, by the name of the layer."""
    maps, last, handles = defaultdict(list), {}, []
    for name, module in model.named_modules():
        if isinstance(module, DecayAttention | SpikingCrossAttention):

            def keep(module, args, output, name=name):
                last[name] = module.weights(*args)

            handles.append(module.register_forward_hook(keep))

    def next_utterance(model, args, output):
        # Of a layer that ran more than once the last map, as ESPnet keeps it.
        for name, found in last.items():
            if found is not None:
                maps[name].append(found[0].cpu())
        last.clear()

    handles.append(model.register_forward_hook(next_utterance))
    try:
        return espnets(model, batch) | maps
    finally:
        for handle in handles:
            handle.remove()


def report_spikes(model: nn.Module) -> nn.Module:
    """Let an ESPnet model's statistics in validation tell spikes per neuron and mean threshold of each layer.

    They are `rate_<layer>` and `theta_<layer>`; a layer is a block, or what else has neurons of its own.
    Training has none: they would cost time in each step. Validation isn't compiled: counting would break its
    graphs. Returns the model.
    """
    of_thread = threading.local()  # one for each replica of data parallelism

    def count(layer, neuron, args, kwargs, output):
        if not model.training:
            counts, theta = neuron.encode(*args, **kwargs)
            sums = vars(of_thread).setdefault("sums", {})
            spikes, neurons, thetas = sums.get(layer, (0.0, 0, []))
            sums[layer] = [spikes + counts.abs().sum(), neurons + counts.numel(), [*thetas, theta.mean()]]

    def start(model, args):
        if not model.training:
            torch.compiler.set_stance("force_eager")

    def tell(model, args, output):
        torch.compiler.set_stance("default")
        sums = vars(of_thread).setdefault("sums", {})
        if not model.training and isinstance(output, tuple) and isinstance(output[1], dict):
            for layer, (spikes, neurons, thetas) in sums.items():
                output[1][f"rate_{layer}"] = (spikes / neurons).view(1)
                output[1][f"theta_{layer}"] = torch.stack(thetas).mean(0, True)
        sums.clear()

    for name, neuron in firing_neurons(model):
        neuron.register_forward_hook(partial(count, _layer(name)), with_kwargs=True)
    model.register_forward_pre_hook(start)
    model.register_forward_hook(tell, always_call=True)
    return model


def firing_neurons(model: nn.Module) -> Iterator[tuple[str, Neuron]]:
    """Names and neurons of a model that fire spikes, without those inside others."""
    inner = {module.neuron for module in model.modules() if isinstance(module, RateCoded)}
    for name, neuron in model.named_modules():
        if isinstance(neuron, Neuron) and neuron.levels and neuron not in inner:
            yield name, neuron


def _layer(name: str) -> str:
    """encoder.blocks.3.attention.neuron -> encoder.blocks.3, encoder.embed.stages.0.neuron ->
    encoder.embed"""
    words = name.split(".")
    return ".".join(words[: words.index("blocks") + 2] if "blocks" in words else words[:2])
