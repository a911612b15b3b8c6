"""The pointwise half of a spiking ConvNeXt block on a CPU, worked off in tiles that stay in its cache."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from imlspike.layers.norm_functions import watched
from imlspike.layers.spike_linear import (
    LARGEST,
    GradientMap,
    SpikeLinear,
    SpikeMap,
    _worthwhile,
    round_tokens,
    weight_gradient,
)
from imlspike.neurons import LIF
from imlspike.neurons.functional import LIFParameters, back_to_current, fired
from imlspike.neurons.kernels import branch_backward, branch_forward, round_rows
from imlspike.neurons.library import library

# Elements between the pointwise maps, over all T, that a thread works on at a time.
_TILE = 1 << 20


def tiles_serve(z: Tensor, steps: int, *modules: nn.Module) -> bool:
    """Whether `spiking_pointwise` can stand for the modules neuron, map, GELU, neuron, map called in turn.

    It can where their products are integer products, unless somebody watches a module by a hook, or has put
    another kind in its place.
    """
    kinds = (LIF, SpikeLinear, nn.GELU, LIF, SpikeLinear)
    if not all(isinstance(module, kind) for module, kind in zip(modules, kinds, strict=True)):
        return False
    if watched(*modules):
        return False
    spikes = z.expand(steps, *z.shape[1:])
    return modules[2].approximate == "none" and all(_worthwhile(spikes, modules[n].weight) for n in (1, 4))


def spiking_pointwise(
    x: Tensor,
    z: Tensor,
    gamma: Tensor,
    steps: int,
    shortcut: str,
    neuron1: LIF,
    map1: SpikeLinear,
    neuron2: LIF,
    map2: SpikeLinear,
) -> Tensor:
    r"""y = x + gamma |z| map_2(neuron_2(GELU(map_1(neuron_1(z))))), equation 4 of Spiking Vocos.

    Each position (b, l) is on its own here, with all its time steps. So a tile of positions is taken through
    the whole chain, forward, and in the backward pass forward again and back: what lies between stays in the
    cache, and only x, z and y are kept. The numbers are those of the modules called one after the other, to
    the bit in the forward pass; gradients differ by the rounding of `SpikeLinear`.

    Args:
        x: what the branch is added to, (T, B, L, C) or (1, B, L, C).
        z: what enters the first neuron, likewise.
        gamma: layer scale (C).
        steps: T.
        shortcut: ``abs`` as above, ``signed`` for z in place of |z|, ``off`` for 1.
        neuron1, map1, neuron2, map2: the modules.

    Returns:
        y (T, B, L, C).
    """
    conf = _Settings(steps, shortcut, *(neuron._parameters_for(z) for neuron in (neuron1, neuron2)))
    leaks = (torch.as_tensor(conf.neuron1.leak), torch.as_tensor(conf.neuron2.leak))
    arguments = (gamma, leaks[0], map1.weight, map1.bias, leaks[1], map2.weight, map2.bias)
    y = _Pointwise.apply(x.flatten(1, 2), z.flatten(1, 2), *arguments, conf)
    return y.unflatten(1, z.shape[1:3])


class _Settings(NamedTuple):
    steps: int
    shortcut: str
    neuron1: LIFParameters
    neuron2: LIFParameters


def _tiles(z: Tensor, weight: Tensor, steps: int) -> list[slice]:
    size = max(1, _TILE * torch.get_num_threads() // (steps * len(weight)))
    return [slice(start, start + size) for start in range(0, z.shape[1], size)]


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, z, gamma, leak1, weight1, bias1, leak2, weight2, bias2, conf: _Settings) -> Tensor:
        ctx.conf, ctx.x_steps = conf, len(x)
        ctx.save_for_backward(z, gamma, leak1, weight1, bias1, leak2, weight2, bias2)
        ctx.maps = map1, map2 = SpikeMap(weight1), SpikeMap(weight2)
        x, z, y = x.contiguous(), z.contiguous(), torch.empty(conf.steps, *z.shape[1:])
        for cut in _tiles(z, weight1, conf.steps):
            current = z[:, cut]
            spikes = fired(current.expand(conf.steps, -1, -1), leak1.item(), conf.neuron1)
            wide = functional.gelu(map1(spikes.flatten(0, 1), bias1)).unflatten(0, (conf.steps, -1))
            spikes = fired(wide, leak2.item(), conf.neuron2)
            out = map2(spikes.flatten(0, 1), bias2).unflatten(0, (conf.steps, -1))
            _branch(x[:, cut], current, out, gamma, conf.shortcut, y[:, cut])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        z, gamma, leak1, weight1, bias1, leak2, weight2, bias2 = ctx.saved_tensors
        grad = grad.contiguous()
        steps, positions = grad.shape[:2]
        grad_z, grad_gamma = torch.empty_like(z), torch.zeros_like(gamma)
        half1 = _Half(leak1, ctx.conf.neuron1, ctx.maps[0], weight1, bias1, steps * positions)
        half2 = _Half(leak2, ctx.conf.neuron2, ctx.maps[1], weight2, bias2, steps * positions)
        for cut in _tiles(z, weight1, steps):
            _backward(z[:, cut], grad[:, cut], grad_z[:, cut], gamma, grad_gamma, half1, half2, ctx.conf)
        grad_x = grad.sum(0, keepdim=True) if ctx.x_steps < steps else grad
        return grad_x, grad_z, grad_gamma, *half1.gradients(), *half2.gradients(), None


class _Half:
    """A neuron and the map that it feeds in the backward pass: tile by tile forward, then back.

    What the gradient of the weights is made of is collected, as bytes, for one product at the end.
    """

    def __init__(self, leak, p: LIFParameters, spike_map: SpikeMap, weight, bias, tokens: int):
        self.leak, self.p, self.map, self.bias = leak, p, spike_map, bias
        self.back = GradientMap(weight)
        outputs, inputs = weight.shape
        self.tokens = torch.empty(tokens, inputs, dtype=torch.int8)
        self.planes, self.units = torch.empty(tokens, 2 * outputs, dtype=torch.int8), []
        self.grad_leak = torch.zeros_like(leak)
        self.grad_bias = None if bias is None else torch.zeros_like(bias)
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        """Current (T, P, C_in) of a tile -> what the map makes of its spikes, (T P, C_out)."""
        self.x, self.rows = x, slice(self.seen, self.seen + len(x) * x.shape[1])
        self.seen = self.rows.stop
        return self.map(fired(x, self.leak, self.p, self.tokens[self.rows]).flatten(0, 1), self.bias)

    def backward(self, grad: Tensor, active: Tensor | None = None) -> Tensor:
        """Gradient of that (T P, C_out), or of its GELU, `active` -> gradient of the current (T, P, C_in)."""
        if library() is not None:
            options = (self.planes[self.rows], active, self.grad_bias)
            return self.rounded_back(round_rows(grad, LARGEST, *options)[1])
        if active is not None:
            grad = torch.ops.aten.gelu_backward(grad, active)
        if self.grad_bias is not None:
            self.grad_bias += grad.sum(0)
        return self.rounded_back(round_tokens(grad, self.planes[self.rows])[1])

    def rounded_back(self, unit: Tensor) -> Tensor:
        """The same for a gradient that is rounded into this tile's planes already."""
        self.units.append(unit)
        grad = self.back(self.planes[self.rows], unit).view(self.x.shape)
        self.grad_leak += back_to_current(self.x, grad, self.leak, self.p)
        return grad

    def gradients(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Of the leak, the weight and the bias."""
        grad_weight = weight_gradient(self.planes, torch.cat(self.units), self.tokens)
        return self.grad_leak, grad_weight, self.grad_bias


def _backward(z, grad, grad_z, gamma, grad_gamma, half1: _Half, half2: _Half, conf: _Settings) -> None:
    """Fills the gradient of a tile of z, and adds the tile's share to that of gamma."""
    wide = half1.forward(z.expand(conf.steps, -1, -1))
    out = half2.forward(functional.gelu(wide).unflatten(0, grad.shape[:2])).view(grad.shape)
    grad_active = _branch_back(z, grad, out, gamma, grad_gamma, half2, conf.shortcut).flatten(0, 1)
    grad_current = half1.backward(grad_active, wide)
    if conf.shortcut != "off":
        grad_current.add_(out)
    if len(z) == 1:
        torch.sum(grad_current, 0, keepdim=True, out=grad_z)
    else:
        grad_z.copy_(grad_current)


def _branch(x, z, out, gamma, shortcut, y) -> None:
    """Fills y = x + gamma |z| out; may use up `out`."""
    if library() is not None:
        return branch_forward(x, z, out, gamma, shortcut, y)
    if shortcut != "off":
        out.mul_(z.abs() if shortcut == "abs" else z)
    torch.add(x, out.mul_(gamma), out=y)


def _branch_back(z, grad, out, gamma, grad_gamma, half: _Half, shortcut) -> Tensor:
    """Back through that and `half`; `out` becomes the gradient of z that doesn't go through it."""
    if library() is not None:
        rounded = half.planes[half.rows]
        unit, sums, slope = branch_backward(z, grad, out, gamma, shortcut, LARGEST, rounded)
        grad_gamma += slope
        if half.grad_bias is not None:
            half.grad_bias += sums
        return half.rounded_back(unit)
    out.mul_(grad)
    grad_out = grad * gamma
    if shortcut == "off":
        grad_gamma += out.sum((0, 1))
    else:
        amplitude = z.abs() if shortcut == "abs" else z
        grad_gamma += (out * amplitude).sum((0, 1))
        grad_out.mul_(amplitude)
        out.mul_(gamma)
        if shortcut == "abs":
            out.mul_(z.sign())
    return half.backward(grad_out.flatten(0, 1))
