"""Linear maps of what IMLS neurons send, for inference on a CPU, by exact integer products."""

import torch
from torch import Tensor, nn

from imlspike.layers.norm_functions import watched
from imlspike.layers.spike_linear import SpikeMap, _worthwhile
from imlspike.neurons import IMLS, imls_loops


def fire_and_map(neuron: nn.Module, linear: nn.Module, x: Tensor) -> Tensor:
    r"""linear(neuron(x)).

    Of a multi-level neuron with a threshold for each token or one for all, without gradients, on a CPU with
    AMX, it is :math:`\theta (W s) + b` with the product of counts and weights in integers, the weights
    rounded to 16 bits as in `SpikeLinear`. A hook on either module brings the two in turn back.

    Args:
        neuron: what fires.
        linear: what maps it.
        x: (..., C_in).

    Returns:
        (..., C_out).

    >>> x, neuron, linear = torch.rand(100, 64), IMLS(levels=4), nn.Linear(64, 8)
    >>> with torch.no_grad():
    ...     torch.allclose(fire_and_map(neuron, linear, x), linear(neuron(x)), atol=1e-4)
    True
    """
    counting = isinstance(neuron, IMLS) and neuron.count_dtype is None and neuron.levels < 128
    if torch.is_grad_enabled() or not counting or watched(neuron, linear):
        return linear(neuron(x))
    theta = neuron.theta(x)
    if not (imls_loops.serve(x, theta) and _worthwhile(x, linear.weight)):
        return linear(neuron.fire(x, theta))
    counts = imls_loops.fire(x, theta, neuron.levels, False)[0].flatten(0, -2).to(torch.int8)
    y = SpikeMap(linear.weight)(counts, None).view(*x.shape[:-1], -1)
    if neuron.amplitude == "theta":
        y.mul_(theta)
    return y if linear.bias is None else y.add_(linear.bias)
