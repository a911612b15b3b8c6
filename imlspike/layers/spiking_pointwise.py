"""The pointwise half of a spiking ConvNeXt block on a CPU, worked off in tiles that stay in its cache."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from imlspike.layers.spike_linear import GradientMap, RoundedTokens, SpikeLinear, SpikeMap, _worthwhile
from imlspike.neurons import LIF
from imlspike.neurons.functional import LIFParameters, back_through_time, leak_slope, retrace

# Elements between the pointwise maps, over all T, that a thread works on at a time.
_TILE = 1 << 18


def tiles_serve(z: Tensor, steps: int, *modules: nn.Module) -> bool:
    """Whether `spiking_pointwise` can stand for the modules neuron, map, GELU, neuron, map called in turn.

    It can where their products are integer products, unless somebody watches a module by a hook, or has put
    another kind in its place.
    """
    kinds = (LIF, SpikeLinear, nn.GELU, LIF, SpikeLinear)
    if not all(isinstance(module, kind) for module, kind in zip(modules, kinds, strict=True)):
        return False
    if any(each._forward_hooks or each._forward_pre_hooks or each._backward_hooks for each in modules):
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
    conf = _Settings(steps, shortcut, *(_parameters(neuron, z) for neuron in (neuron1, neuron2)))
    leaks = (torch.as_tensor(conf.neuron1.leak), torch.as_tensor(conf.neuron2.leak))
    arguments = (gamma, leaks[0], map1.weight, map1.bias, leaks[1], map2.weight, map2.bias)
    y = _Pointwise.apply(x.flatten(1, 2), z.flatten(1, 2), *arguments, conf)
    return y.unflatten(1, z.shape[1:3])


class _Settings(NamedTuple):
    steps: int
    shortcut: str
    neuron1: LIFParameters
    neuron2: LIFParameters


def _parameters(neuron: LIF, x: Tensor) -> LIFParameters:
    return neuron._parameters_for(x)


def _tiles(z: Tensor, weight: Tensor, steps: int) -> list[slice]:
    size = max(1, _TILE * torch.get_num_threads() // (steps * len(weight)))
    return [slice(start, start + size) for start in range(0, z.shape[1], size)]


def _amplitude(z: Tensor, shortcut: str) -> Tensor | None:
    return {"abs": torch.abs, "signed": torch.clone, "off": lambda z: None}[shortcut](z)


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, z, gamma, leak1, weight1, bias1, leak2, weight2, bias2, conf: _Settings) -> Tensor:
        ctx.conf, ctx.x_steps = conf, len(x)
        ctx.save_for_backward(z, gamma, leak1, weight1, bias1, leak2, weight2, bias2)
        map1, map2 = SpikeMap(weight1), SpikeMap(weight2)
        y = torch.empty(conf.steps, *z.shape[1:])
        for cut in _tiles(z, weight1, conf.steps):
            current = z[:, cut]
            wide = map1(_fired(current.expand(conf.steps, -1, -1), leak1.item(), conf.neuron1), bias1)
            wide = functional.gelu(wide).unflatten(0, (conf.steps, -1))
            out = map2(_fired(wide, leak2.item(), conf.neuron2), bias2).unflatten(0, (conf.steps, -1))
            amplitude = _amplitude(current, conf.shortcut)
            if amplitude is not None:
                out.mul_(amplitude)
            torch.add(x[:, cut], out.mul_(gamma), out=y[:, cut])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        z, *parameters = ctx.saved_tensors
        grad_z = torch.empty_like(z)
        sums = [torch.zeros_like(each) if each is not None else None for each in parameters]
        weights = parameters[2], parameters[5]
        maps = [(SpikeMap(weight), GradientMap(weight)) for weight in weights]
        for cut in _tiles(z, weights[0], ctx.conf.steps):
            _backward(z[:, cut], grad[:, cut], grad_z[:, cut], parameters, sums, maps, ctx.conf)
        grad_x = grad.sum(0, keepdim=True) if ctx.x_steps < len(grad) else grad
        return grad_x, grad_z, *sums, None


def _fired(x: Tensor, leak: float, p: LIFParameters) -> Tensor:
    """The spikes of x (T, P, C) from rest, as bytes (T P, C)."""
    return retrace(x, x.new_zeros(()), leak, p).spikes.to(torch.int8).flatten(0, 1)


def _backward(z, grad, grad_z, parameters, sums, maps, conf: _Settings) -> None:
    """Fills the gradient of a tile of z, and adds the tile's share to those of the parameters."""
    gamma, leak1, weight1, bias1, leak2, weight2, bias2 = parameters
    steps, rest = conf.steps, z.new_zeros(())
    current = z.expand(steps, -1, -1)
    run1 = retrace(current, rest, leak1.item(), conf.neuron1)
    tokens1 = run1.spikes.to(torch.int8).flatten(0, 1)
    wide = maps[0][0](tokens1, bias1)
    active = functional.gelu(wide).unflatten(0, (steps, -1))
    run2 = retrace(active, rest, leak2.item(), conf.neuron2)
    tokens2 = run2.spikes.to(torch.int8).flatten(0, 1)
    out = maps[1][0](tokens2, bias2).unflatten(0, grad.shape[:2])
    # y = x + gamma amplitude out
    out.mul_(grad)
    grad_out, amplitude = grad * gamma, _amplitude(z, conf.shortcut)
    if amplitude is None:
        sums[0] += out.sum((0, 1))
    else:
        sums[0] += (out * amplitude).sum((0, 1))
        grad_out.mul_(amplitude)
        out.mul_(gamma)
        if conf.shortcut == "abs":
            out.mul_(z.sign())
    grad_active = _through_map(grad_out.flatten(0, 1), tokens2, maps[1][1], sums[5], sums[6])
    grad_active = grad_active.unflatten(0, (steps, -1))
    _through_neuron(run2, active, grad_active, leak2, conf.neuron2, sums[4])
    grad_wide = torch.ops.aten.gelu_backward(grad_active.flatten(0, 1), wide)
    grad_current = _through_map(grad_wide, tokens1, maps[0][1], sums[2], sums[3]).unflatten(0, (steps, -1))
    _through_neuron(run1, current, grad_current, leak1, conf.neuron1, sums[1])
    if amplitude is not None:
        grad_current.add_(out)
    if len(z) == 1:
        torch.sum(grad_current, 0, keepdim=True, out=grad_z)
    else:
        grad_z.copy_(grad_current)


def _through_map(grad, tokens, back: GradientMap, weight_sum: Tensor, bias_sum: Tensor | None) -> Tensor:
    rounded = RoundedTokens(grad)
    rounded.add_weight_gradient(tokens, weight_sum)
    if bias_sum is not None:
        bias_sum += grad.sum(0)
    return back(rounded)


def _through_neuron(run, x, grad, leak: Tensor, p: LIFParameters, leak_sum: Tensor) -> None:
    """Turns the gradient of spikes (T, P, C) into that of the current."""
    back_through_time(run, grad, None, leak.item(), p, out=grad)
    leak_sum += leak_slope(run, x, grad, p)
    if p.decay_input:
        grad.mul_(leak)
