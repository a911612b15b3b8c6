"""The pointwise half of a spiking ConvNeXt block on a CPU, worked off in tiles that stay in its cache."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from imlspike.layers.spike_linear import (
    GradientMap,
    SpikeLinear,
    SpikeMap,
    _worthwhile,
    round_tokens,
    weight_gradient,
)
from imlspike.neurons import LIF
from imlspike.neurons.functional import LIFParameters, Trace, back_through_time, leak_slope, retrace

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


class _Space:
    """Memory to work in, by name, the same for every tile: so that it is in the cache.

    What an allocator hands out for each result instead would be another place each time.
    """

    def __init__(self):
        self._buffers: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        size = math.prod(shape)
        if name not in self._buffers:  # the first tile is the largest
            self._buffers[name] = torch.empty(size)
        return self._buffers[name][:size].view(shape)


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, z, gamma, leak1, weight1, bias1, leak2, weight2, bias2, conf: _Settings) -> Tensor:
        ctx.conf, ctx.x_steps = conf, len(x)
        ctx.save_for_backward(z, gamma, leak1, weight1, bias1, leak2, weight2, bias2)
        ctx.maps = maps = SpikeMap(weight1), SpikeMap(weight2)
        y, space = torch.empty(conf.steps, *z.shape[1:]), _Space()
        halves = (
            _Half("1", leak1, conf.neuron1, maps[0], bias1, weight1, space),
            _Half("2", leak2, conf.neuron2, maps[1], bias2, weight2, space),
        )
        for cut in _tiles(z, weight1, conf.steps):
            out = _branch(z[:, cut], *halves, conf.steps, space)[1]
            if conf.shortcut != "off":
                out.mul_(_amplitude(z[:, cut], conf.shortcut, space))
            torch.add(x[:, cut], out.mul_(gamma), out=y[:, cut])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        z, gamma, leak1, weight1, bias1, leak2, weight2, bias2 = ctx.saved_tensors
        conf, tokens, space = ctx.conf, grad.shape[0] * grad.shape[1], _Space()
        grad_z, grad_gamma = torch.empty_like(z), torch.zeros_like(gamma)
        halves = (
            _Half("1", leak1, conf.neuron1, ctx.maps[0], bias1, weight1, space, tokens),
            _Half("2", leak2, conf.neuron2, ctx.maps[1], bias2, weight2, space, tokens),
        )
        for cut in _tiles(z, weight1, conf.steps):
            _backward(z[:, cut], grad[:, cut], grad_z[:, cut], gamma, grad_gamma, *halves, conf, space)
        grad_x = grad.sum(0, keepdim=True) if ctx.x_steps < conf.steps else grad
        return grad_x, grad_z, grad_gamma, *(each for half in halves for each in half.gradients()), None


class _Half:
    """A neuron and the map that it feeds: tile by tile forward and, in the backward pass, back after that.

    What the gradient of the weights is made of is collected, as bytes, for one product at the end.
    `tokens` says of how many; 0 in the forward pass.
    """

    def __init__(self, name, leak, p: LIFParameters, spike_map: SpikeMap, bias, weight, space, tokens=0):
        self.name, self.leak, self.p, self.map, self.bias = name, leak.item(), p, spike_map, bias
        self.outputs, self.inputs = weight.shape
        self.space, self.seen, self.units = space, 0, []
        if tokens:
            self.back = GradientMap(weight)
            self.tokens = torch.empty(tokens, self.inputs, dtype=torch.int8)
            self.whole = torch.empty(tokens, self.outputs, dtype=torch.int16)
            self.grad_leak = torch.zeros_like(leak)
            self.grad_bias = None if bias is None else torch.zeros_like(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Current (T, P, C_in) of a tile -> what the map makes of its spikes, (T P, C_out)."""
        self.x = x
        self.run = Trace(*(self.space(part + self.name, *x.shape) for part in Trace._fields))
        retrace(x, None, self.leak, self.p, into=self.run)
        self.rows = slice(self.seen, self.seen + len(x) * x.shape[1])
        spikes = self.run.spikes.flatten(0, 1)
        if hasattr(self, "back"):
            self.seen = self.rows.stop
            spikes = self.tokens[self.rows].copy_(spikes)
        out = self.space("out" + self.name, len(spikes), self.outputs)
        return self.map(spikes.to(torch.int8), self.bias, out)

    def backward(self, grad: Tensor) -> Tensor:
        """Gradient of that (T P, C_out) -> gradient of the current (T, P, C_in)."""
        if self.grad_bias is not None:
            self.grad_bias += grad.sum(0)
        planes, unit = round_tokens(grad, self.whole[self.rows])
        self.units.append(unit)
        back = self.space("back" + self.name, len(grad), self.inputs)
        back = self.back(planes, unit, back).view(self.x.shape)
        spare = self.space("spare" + self.name, *back.shape)
        back_through_time(self.run, back, None, self.leak, self.p, out=back, spare=spare)
        self.grad_leak += leak_slope(self.run, self.x, back, self.p)
        return back.mul_(self.leak) if self.p.decay_input else back

    def gradients(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Of the leak, the weight and the bias."""
        planes = self.whole.view(torch.int8)
        return self.grad_leak, weight_gradient(planes, torch.cat(self.units), self.tokens), self.grad_bias


def _branch(z: Tensor, half1: _Half, half2: _Half, steps: int, space: _Space) -> tuple[Tensor, Tensor]:
    """A tile (T or 1, P, C) -> what the first map makes, (T P, intermediate), and the second, (T, P, C)."""
    wide = half1.forward(z.expand(steps, -1, -1))
    active = torch.ops.aten.gelu.out(wide, out=space("active", *wide.shape))
    return wide, half2.forward(active.unflatten(0, (steps, -1))).unflatten(0, (steps, -1))


def _amplitude(z: Tensor, shortcut: str, space: _Space) -> Tensor:
    return torch.abs(z, out=space("amplitude", *z.shape)) if shortcut == "abs" else z


def _backward(
    z, grad, grad_z, gamma, grad_gamma, half1: _Half, half2: _Half, conf: _Settings, space: _Space
) -> None:
    """Fills the gradient of a tile of z, and adds the tile's share to that of gamma."""
    wide, out = _branch(z, half1, half2, conf.steps, space)
    # y = x + gamma amplitude out
    grad_out = torch.mul(grad, gamma, out=space("grad_out", *grad.shape))
    product = torch.mul(out, grad, out=space("product", *grad.shape))
    if conf.shortcut != "off":
        amplitude = _amplitude(z, conf.shortcut, space)
        product.mul_(amplitude)
        # dy/dz of the amplitude: gamma grad out, with the sign of z
        out.mul_(grad_out)
        if conf.shortcut == "abs":
            out.mul_(torch.sign(z, out=space("sign", *z.shape)))
        grad_out.mul_(amplitude)
    grad_gamma += product.sum((0, 1))
    grad_active = half2.backward(grad_out.flatten(0, 1)).flatten(0, 1)
    grad_wide = space("active", *wide.shape)
    torch.ops.aten.gelu_backward.grad_input(grad_active, wide, grad_input=grad_wide)
    grad_current = half1.backward(grad_wide)
    if conf.shortcut != "off":
        grad_current.add_(out)
    if len(z) == 1:
        torch.sum(grad_current, 0, keepdim=True, out=grad_z)
    else:
        grad_z.copy_(grad_current)
