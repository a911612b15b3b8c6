"""Operations that a network carries out, counted while it runs on real input.

Every tensor operation is seen on its way to the kernel, so all that runs counts, whoever wrote it. A product
or convolution with a neuron's output counts **accumulates**: one for each spike and each connection that it
reaches (a count of 3 is 3 spikes in unary code, 2 in binary). All others count multiply-accumulates (MACs).

A tensor is spikes when it lies in the memory that a neuron's output lies in (views, transposes), or is a copy
of it, a padding with zeros, or its product with a factor that all channels (the last axis) of a token share
(a mask, a decay). Products of spikes (gates) are spikes, and so are sums where all are worth the same (a
read-out over time; a mean is a sum of which the factor is left for later). Attention under a decay mask is
counted in that of its two exact forms that takes fewer operations, norms as `FoldedNorms` leaves them.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from imlspike.evaluation.elementwise import ELEMENTWISE, FREE, REDUCTIONS, butterflies
from imlspike.evaluation.folded_norms import NORMS, FoldedNorms
from imlspike.evaluation.spikes import firing, spiking_neurons
from imlspike.layers.decay import DecayAttention
from imlspike.layers.token_conv import TokenConv, windows
from imlspike.neurons import IMLS, Neuron
from imlspike.neurons.base import popcount

AMOUNTS = "macs active_macs accumulates bitwise events additions multiplications dense_macs inputs ".split()
AMOUNTS += "spiking_inputs state bitwise_additions neurons normed".split()

aten = torch.ops.aten
# Worth of spikes: the same everywhere, or alike for all channels of a token, or all tokens of a channel.
_CONSTANT, _BY_TOKEN, _BY_CHANNEL, _UNKNOWN = "constant", "token", "channel", "no spikes"
_COPIES = {"clone", "_to_copy", "constant_pad_nd", "index_select", "flip"}


@dataclass
class Operations:
    """Operations of one kind in one module.

    Kinds are ``weights``: linear maps and convolutions; ``product``: matrix products of two activations
    (attention); ``neuron``: membrane updates, threshold statistics; ``scaling``: by the threshold, after a
    sum of spikes; ``elementwise``: the rest.
    """

    name: str
    kind: str
    macs: int = 0  # multiply-accumulates on real-valued input
    active_macs: int = 0  # those of them whose input isn't zero
    accumulates: int = 0  # additions that spikes cause
    bitwise: int = 0  # the same if counts are sent bit by bit, with a shift a result and bit but the first
    events: int = 0  # connections of the inputs that fire at all, whatever their count
    additions: int = 0  # of single numbers, as the multiplications
    multiplications: int = 0
    dense_macs: int = 0  # MACs of the same network with ReLU for neurons, which runs once, not T times
    inputs: int = 0  # real numbers that maps and products read
    spiking_inputs: int = 0  # spikes or counts that they read
    state: int = 0  # reads and writes of the potentials of neurons that carry one
    bitwise_additions: int = 0  # in place of `additions`, of neurons that find their counts bit by bit
    neurons: int = 0  # results of neurons, one for all T steps
    normed: int = 0  # those of them that take in the norm ahead, of which a ReLU would leave an addition
    bits: int = 8  # of a count, of all T steps: 3 for up to 6; 8 where none is read
    steps: int = 1  # T, if it runs once for each time step

    def times(self, factor: float) -> "Operations":
        """The same, `factor` times as often."""
        return replace(self, **{amount: getattr(self, amount) * factor for amount in AMOUNTS})


@dataclass
class _Spikes:
    tensor: Tensor  # held, so that its memory is not given to another tensor
    version: int
    counts: Tensor  # in the strides of `tensor`
    worth: str | None  # what the counts are multiplied by, one of the above; None: nothing
    levels: int  # the largest count that there may be


class OperationCounter(TorchDispatchMode):
    """Context manager that counts the operations of `module` while it runs; gradients are off inside.

    Put the network into evaluation mode and fold re-parameterised layers first. Integer and boolean results
    (lengths, padding masks) cost nothing. Operations that it does not know are counted as one addition for
    each element of their result, and listed.

    Args:
        module: the network; what runs outside of it isn't counted.
        steps: T of a network whose neurons carry a state; what runs for each of T steps is known by its first
            axis, so batches must be of one utterance.

    Attributes:
        rows: (name, kind) to `Operations`, in the order of first use.
        unknown: names of operations that were not known, and how often they ran.
        forms: how often attention was counted in the form "quadratic" or "chunked".

    >>> from imlspike.neurons import IMLS
    >>> network = nn.Sequential(nn.Linear(4, 3), IMLS(threshold="fixed", value=0.1), nn.Linear(3, 2)).eval()
    >>> with OperationCounter(network) as counter:
    ...     _ = network(torch.full((5, 4), 1e3))
    >>> [(row.name, row.macs, row.dense_macs) for row in counter.rows.values() if row.kind == "weights"]
    [('0', 60, 60), ('2', 0, 30)]
    """

    def __init__(self, module: nn.Module, steps: int = 1):
        super().__init__()
        self.module, self.steps = module, steps
        self.rows: dict[tuple[str, str], Operations] = {}
        self.unknown: Counter = Counter()
        self.forms: Counter = Counter()
        self._handles, self._path, self._muted = [], [], 0
        self._spikes: dict[int, _Spikes] = {}
        self._norms = FoldedNorms()
        self._weights: set[int] = set()

    def __enter__(self):
        self._weights = {_memory(weight) for weight in self.module.parameters()}
        neurons = set(spiking_neurons(self.module).values())  # whole: counted as such, however they compute
        for name, module in self.module.named_modules():
            whole = isinstance(module, nn.Linear | TokenConv | DecayAttention) or module in neurons
            self._handles += [
                module.register_forward_pre_hook(partial(self._enter, name, whole)),
                module.register_forward_hook(partial(self._leave, name, whole), with_kwargs=True),
            ]
        self._no_grad = torch.no_grad()
        self._no_grad.__enter__()
        return super().__enter__()

    def __exit__(self, *exception):
        super().__exit__(*exception)
        self._no_grad.__exit__(*exception)
        while self._handles:
            self._handles.pop().remove()
        self._path.clear()
        self._spikes.clear()
        self._norms = FoldedNorms()
        self._muted = 0

    def _enter(self, name, whole, module, args):
        self._path.append(name)
        self._muted += whole

    def _leave(self, name, whole, module, args, kwargs, output):
        if isinstance(module, nn.Linear | TokenConv):
            self._linear(module, (args or tuple(kwargs.values()))[0], output)
        elif isinstance(module, DecayAttention):
            self._decay_attention(module, args, kwargs)
        elif whole:
            found = firing(module, args, kwargs, output, name)
            self._fired(module, *found, output)
            constant = isinstance(module, IMLS) and not found[1].dim() and not module.signed
            self._norms.read((args or tuple(kwargs.values()))[0], name if constant else None)
        elif isinstance(module, NORMS) and not self._muted:
            self._norms.add(name, module, args[0], output)
        self._muted -= whole
        self._path.pop()
        if not self._path:
            self._spikes.clear()
            self._norms.settle(self.rows)

    def _add(self, kind, steps=1, bits=0, **amounts):
        row = self.rows.setdefault((self._path[-1], kind), Operations(self._path[-1], kind))
        row.steps = max(row.steps, steps)
        if bits:
            row.bits = bits if row.bits == 8 else max(row.bits, bits)
        for key, amount in amounts.items():
            setattr(row, key, getattr(row, key) + int(amount))

    def _steps(self, result):
        """T if `result` stands for each time step, else 1."""
        in_time = self.steps > 1 and result.dim() > 2 and result.shape[0] % self.steps == 0
        return self.steps if in_time else 1

    def _fired(self, neuron: Neuron, counts: Tensor, worth: Tensor, output: Tensor):
        """A neuron's own cost, and a note that its output is spikes."""
        self._add("neuron", **neuron.cost(counts, worth))
        kind = _CONSTANT if not worth.dim() else _BY_TOKEN if worth.shape[-1] == 1 else _BY_CHANNEL
        # The sign is a bit.
        self._note(output, counts, None if neuron.unit else kind, neuron.levels * (1 + neuron.signed))

    def _note(self, tensor, counts, worth, levels):
        same = torch.empty_strided(tensor.shape, tensor.stride(), dtype=counts.dtype, device=counts.device)
        noted = _Spikes(tensor, tensor._version, same.copy_(counts), worth, levels)
        self._spikes[_memory(tensor)] = noted

    def _decay_attention(self, module, args, kwargs):
        """Count both forms, keep the one with fewer operations, a MAC being two."""
        mode, rows, muted, counted = module.mode, self.rows, self._muted, []
        for module.mode in ("quadratic", "chunked"):
            self.rows, self._muted = {}, 0
            module.forward(*args, **kwargs)
            found = self.rows.values()
            total = sum(2 * r.macs + r.accumulates + r.additions + r.multiplications for r in found)
            counted.append((total, module.mode, found))
        module.mode, self.rows, self._muted = mode, rows, muted
        _, form, found = min(counted)
        self.forms[form] += 1
        for row in found:
            bits = row.bits if row.spiking_inputs else 0
            self._add(row.kind, row.steps, bits, **{amount: getattr(row, amount) for amount in AMOUNTS})

    def _source(self, x):
        """The spikes that `x` holds, or None."""
        spikes = self._spikes.get(_memory(x)) if isinstance(x, Tensor) else None
        return spikes if spikes and spikes.tensor._version == spikes.version else None

    def _scales(self, *tensors):
        """Worths of spikes; with `_UNKNOWN` where a tensor isn't spikes."""
        return {spikes.worth if (spikes := self._source(x)) else _UNKNOWN for x in tensors}

    def _counts(self, x):
        """Spike counts in the shape of `x`, or None where it isn't spikes."""
        spikes = self._source(x)
        offset = spikes and x.storage_offset() - spikes.tensor.storage_offset()
        return spikes and spikes.counts.as_strided(x.shape, x.stride(), offset)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if self._path and not self._muted:
            self._muted += 1  # what counting itself computes does not count
            try:
                self._count(func, args, kwargs or {}, output)
            finally:
                self._muted -= 1
        return output

    def _count(self, func, args, kwargs, output):
        name = func._schema.name.removeprefix("aten::")
        result = output[0] if isinstance(output, tuple | list) and output else output
        if func.is_view or not isinstance(result, Tensor):
            return
        self._norms.see(name, args, result, self._weights)
        if not (result.is_floating_point() or result.is_complex()):  # lengths, masks
            return
        if name in ("mm", "bmm"):
            self._matrix_product(args[0], args[1], result)
        elif name in ("addmm", "baddbmm"):
            self._matrix_product(args[1], args[2], result)
            self._add("elementwise", self._steps(result), additions=result.numel())
        elif name == "convolution":
            self._convolution(args, result)
        elif name.startswith("_scaled_dot_product"):
            self._attention(*args[:3])
        elif name in ELEMENTWISE:
            additions, multiplications = ELEMENTWISE[name]
            multiplications += kwargs.get("alpha", 1) != 1
            n, steps = result.numel(), self._steps(result)
            self._add("elementwise", steps, additions=additions * n, multiplications=multiplications * n)
        elif name in ("_fft_c2r", "_fft_r2c"):
            self._fourier(args[0], result)
        elif name in REDUCTIONS:
            means = result.numel() if name == "mean" else 0
            self._add("elementwise", additions=args[0].numel(), multiplications=means)
        elif name not in FREE:
            self.unknown[name] += 1
            self._add("elementwise", additions=result.numel())
        self._carry(name, func, args, kwargs, result)

    def _carry(self, name, func, args, kwargs, result):
        """Copies of spikes, and multiples that are the same for all channels, are spikes still."""
        if name in _COPIES and (counts := self._counts(args[0])) is not None:
            source = self._source(args[0])
            self._note(result, func(counts, *args[1:], **kwargs), source.worth, source.levels)
        elif name in ("sum", "mean") and self._scales(args[0]) <= {None, _CONSTANT} and len(args) > 1:
            source, counts = self._source(args[0]), aten.sum(self._counts(args[0]), *args[1:])
            self._note(result, counts, source.worth, source.levels * (args[0].numel() // result.numel()))
        elif name == "mul" and _UNKNOWN not in (both := self._scales(*args[:2])) and len(both - {None}) < 2:
            counts = self._counts(args[0]) * self._counts(args[1])
            levels = prod(self._source(x).levels for x in args[:2])
            self._note(result, counts, next(iter(both - {None}), None), levels)
        elif name in ("mul", "div"):
            for x, factor in ((args[0], args[1]), (args[1], args[0]))[: 1 if name == "div" else 2]:
                counts = self._counts(x)
                by_token = not isinstance(factor, Tensor) or factor.dim() == 0 or factor.shape[-1] == 1
                if counts is not None and by_token and x.shape == result.shape:
                    source = self._source(x)
                    self._note(result, counts * (factor != 0), source.worth, source.levels)
                    return

    def _linear(self, module, x, result):
        """A linear map; also a convolution over tokens, in which a spike is seen by several windows."""
        kernel, width = getattr(module, "kernel_size", (1,))[0], result.shape[-1]
        self._norms.mapped(x, result, kernel == 1)

        def reach(numbers):
            return windows(numbers, kernel).sum(dtype=torch.float64) * width

        self._products("weights", x.numel() * kernel * width, reach, x, module.weight, result)
        if module.bias is not None:
            self._add("elementwise", self._steps(result), additions=result.numel())

    def _matrix_product(self, a, b, result):
        """(..., M, K) @ (..., K, N); of two spiking sides the cheaper drives the other, where that fires.

        Who skips zeros skips those of both sides, such as what a mask left out.
        """
        weights = [_memory(x) in self._weights for x in (a, b)]
        sides = []
        for x, axis, other, other_axis, is_weight in ((a, -2, b, -1, weights[0]), (b, -1, a, -2, weights[1])):
            counts, active = self._counts(other), (other != 0).sum(other_axis)
            width = other.shape[other_axis] if counts is None else active

            def reach(numbers, axis=axis, width=width):
                return (numbers.sum(axis, dtype=torch.float64) * width).sum()

            spikes = self._counts(x)
            order = (True, is_weight) if spikes is None else (False, reach(spikes))
            sides.append((order, reach, partial(reach, width=active), x, other))
        _, reach, skipping, x, other = min(sides, key=lambda side: side[0])
        kind = "weights" if any(weights) else "product"
        self._products(kind, a.numel() * b.shape[-1], reach, x, other, result, skipping)

    def _attention(self, q, k, v):
        """A softmax attention that runs as one operation; q, k, v (B, H, N, D)."""
        weights = q.numel() // q.shape[-1] * k.shape[-2]
        macs = weights * (q.shape[-1] + v.shape[-1])
        read = q.numel() + k.numel() + v.numel()
        self._add("product", macs=macs, active_macs=macs, dense_macs=macs, inputs=read)
        additions, multiplications = ELEMENTWISE["_softmax"]  # and one multiplication by 1 / sqrt(D)
        multiplications = (multiplications + 1) * weights
        self._add("elementwise", additions=additions * weights, multiplications=multiplications)

    def _fourier(self, x, result):
        """Real transforms over one axis. A butterfly multiplies (4 and 2 additions) and adds twice (4)."""
        real = x if x.is_floating_point() else result
        points = max(n for n, m in zip(real.shape, (result if real is x else x).shape, strict=True) if n != m)
        both = real.numel() / points * butterflies(points)
        self._add("elementwise", additions=6 * both, multiplications=4 * both)

    def _convolution(self, args, result):
        x, weight, bias, stride, padding, dilation, transposed, _, groups = args
        outputs_per_group = weight.shape[1] if transposed else weight.shape[0] // groups
        dense = (x if transposed else result).numel() * prod(weight.shape[1:])
        if bias is not None:
            self._add("elementwise", self._steps(result), additions=result.numel())

        def reach(numbers):
            if transposed:  # every input element reaches the whole kernel
                return numbers.sum(dtype=torch.float64) * prod(weight.shape[2:]) * outputs_per_group
            # what lies under the kernel, at all its positions
            ones, none = weight.new_ones(1, 1, *weight.shape[2:], dtype=torch.float64), [0] * len(stride)
            numbers = numbers.sum(1, keepdim=True, dtype=torch.float64)
            reached = aten.convolution(numbers, ones, None, stride, padding, dilation, False, none, 1)
            return torch.round(reached.sum() * outputs_per_group)

        self._products("weights", dense, reach, x, weight, result)

    def _products(self, kind: str, dense: int, reach: Callable, x, other, result, skipping=None):
        """MACs, or accumulates where `x` holds spikes, and the scaling by their worth.

        `reach`: of numbers in the shape of `x` the sum of each times the connections that it reaches;
        `skipping`: times those of them alone that are not zero on the other side. A threshold for each token
        is multiplied after the sum, one multiplication a result; one for each channel cannot leave the sum:
        it scales the weights, once. A constant one costs nothing.
        """
        source, counts, steps = self._source(x), self._counts(x), self._steps(result)
        skipping = skipping or reach
        amounts = {"dense_macs": dense / steps, "inputs": 0, "spiking_inputs": 0}
        for read in (x, other) if kind == "product" else (x,):
            amounts["inputs" if self._source(read) is None else "spiking_inputs"] += read.numel()
        if source is None:
            return self._add(kind, steps, macs=dense, active_macs=skipping(x != 0), **amounts)
        bits, accumulates = (source.levels * steps).bit_length(), reach(counts)
        if steps == 1:
            bitwise, events = skipping(popcount(counts)) + (bits - 1) * result.numel(), skipping(counts != 0)
        elif kind == "weights":  # a count of the time steps, in one pass
            bitwise, events = accumulates, reach(counts.unflatten(0, (steps, -1)).sum(0) != 0)
        else:
            bitwise, events = accumulates, accumulates / steps
        self._add(kind, steps, bits, accumulates=accumulates, bitwise=bitwise, events=events, **amounts)
        if source.worth not in (None, _CONSTANT):
            by_weight = source.worth == _BY_CHANNEL and kind == "weights"
            self._add("scaling", multiplications=other.numel() if by_weight else result.numel())


def _memory(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()
