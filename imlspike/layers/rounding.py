"""Weights rounded to few bits: what a model is worth at the bits that its energy is counted with."""

import torch
from torch import nn


@torch.no_grad()
def round_weights(model: nn.Module, bits: int | None) -> nn.Module:
    """Round the weights of linear maps and convolutions to whole multiples of a step, in place.

    Each output channel has its own step, its largest magnitude over 2^(bits - 1) - 1, so that the grid is
    symmetric. Weights stay floats; biases, norms, embeddings and recurrent layers stay as they are. Fold
    re-parameterised layers before, for what is rounded is what runs.

    Args:
        model: changed in place.
        bits: 2 to 16; None: nothing is done.

    Returns:
        `model`.

    Raises:
        ValueError: for other numbers of bits.

    >>> layer = nn.Linear(3, 1, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, -0.2, 0.3]])
    >>> (round_weights(layer, 3).weight * 3).tolist()
    [[3.0, -1.0, 1.0]]
    """
    if bits is None:
        return model
    if not 2 <= bits <= 16:
        raise ValueError(f"weight_bits must be 2 to 16, got {bits}")
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            largest = module.weight.abs().flatten(1).amax(1).clamp(min=torch.finfo(module.weight.dtype).tiny)
            step = (largest / (2 ** (bits - 1) - 1)).reshape(-1, *[1] * (module.weight.dim() - 1))
            module.weight.copy_((module.weight / step).round() * step)
    return model
