"""Currents that are the same numbers in every program, so that the same spikes fire.

A threshold makes a spike of a rounding: two programs, or two numbers of threads, that add up a current in
another order would give visibly other outputs. Here a sum has no such freedom. Spikes are whole numbers,
features are rounded to sixteenths, and the weights by which both are multiplied lie on a grid so coarse that
fp32 holds every partial sum; the attention sums in fp64, whose last bits vanish when its result is rounded.
"""

import torch
from torch import nn

from imlspike.layers.decay import DecayAttention
from imlspike.layers.norm import plain_norms
from imlspike.neurons import Neuron

BITS = 23  # of the largest sum; one is to spare for what the rounding of weights adds to it
FEATURE_STEP, LARGEST_FEATURE = 1 / 16, 32.0  # of normalized log-mels, whose standard deviation is about 1


@torch.no_grad()
def make_exact(layer: nn.Module, largest: float, step: float = 1.0) -> nn.Module:
    """Round a linear map or convolution, in place, so that fp32 holds all partial sums of its outputs.

    The terms and the bias of an output become multiples of one power of two, about 2^-23 of the largest sum.

    Args:
        layer: with weights (C_out, ...) and a bias or None.
        largest, step: of its inputs' magnitudes, which are multiples of `step`, a power of two.

    Returns:
        `layer`.

    >>> layer, counts = make_exact(nn.Linear(100, 8), largest=6), torch.randint(7, (100,)).float()
    >>> order = torch.randperm(100)
    >>> torch.equal(layer.weight @ counts, layer.weight[:, order] @ counts[order])
    True
    """
    sums = largest * layer.weight.double().abs().flatten(1).sum(1)
    sums = sums if layer.bias is None else sums + layer.bias.abs()
    grid = (torch.frexp(sums).exponent.double() - BITS).exp2()
    for parameter, unit in ((layer.weight, grid / step), (layer.bias, grid)):
        if parameter is not None:
            unit = unit.view(-1, *[1] * (parameter.dim() - 1))
            parameter.copy_((parameter.double() / unit).round() * unit)
    return layer


def make_reproducible(encoder: nn.Module) -> nn.Module:
    """Have a folded IML-Spikeformer fire the same spikes in every program, in place; for inference.

    From features that are multiples of 1/16 up to 32 its currents are the same fp32 numbers with any number
    of threads, alone or in a padded batch, in PyTorch or exported. (What is summed in fp64 could still differ
    in the last bit of fp32, where it lies on a rounding's edge: about one number in 1e8.) That holds for
    spikes worth 1 (`amplitude: unit`), without `positions` and `interctc_use_conditioning`, whose sines and
    probabilities are added to the currents. Of an ANN, which has no thresholds, only the norms are replaced.

    Batch norms become a product and a sum, each of them rounded.

    Returns:
        `encoder`.
    """
    neurons = [each for each in plain_norms(encoder).modules() if isinstance(each, Neuron)]
    if not neurons or any(each.levels is None for each in neurons):
        return encoder
    levels, embed = max(each.levels for each in neurons), encoder.embed
    first = embed.stages[0].conv if embed.stages else embed.linear
    for layer in encoder.modules():
        if isinstance(layer, DecayAttention):
            layer.wide = True
        elif isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            make_exact(layer, *((LARGEST_FEATURE, FEATURE_STEP) if layer is first else (levels,)))
    return encoder
