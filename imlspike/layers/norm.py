"""Batch normalisation whose statistics leave padding out and take in all processes that train together."""

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable

# Elements that a thread works on at a time, so that all passes over them hit its cache.
_PIECE = 1 << 17


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over real tokens only: an utterance means the same alone and in a padded batch.

    In training the mean and variance of each channel are those of the tokens where `mask` is True (all,
    without a mask); padding comes out as zero. In evaluation it is the affine map of the running statistics,
    on every token.

    Several processes (`torch.distributed`) that share a batch normalise it as one process would: the
    statistics are those of the tokens of all of them, and so are the gradients. That costs one message of
    2 C + 1 numbers forward and one backward; `synchronised = False` saves them, and each process then has the
    statistics of its own tokens.

    Half-precision input (autocast) is normalised in fp32 and comes out as fp32, so that the residual sums and
    the thresholds of the neurons behind it are exact.

    Args: those of `torch.nn.BatchNorm1d`.

    Attributes:
        synchronised: True, or False as above.

    Forward:
        x: (K, C) tokens without padding, (B, N, C), or (B, N, F, C) with an axis F that shares the statistics
            of a channel.
        mask: (B, N), True = a real token; or None.

    Returns:
        the shape of `x`; fp32, or fp64 for an fp64 `x`.

    Raises:
        ValueError: in training on fewer than two values a channel.

    >>> norm = MaskedBatchNorm(3)
    >>> x, mask = torch.randn(2, 5, 3), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    >>> torch.allclose(norm(x, mask)[mask], torch.nn.BatchNorm1d(3)(x[mask]))
    True
    """

    synchronised = True

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the class."""
        channels = x.shape[-1]
        x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        rows = x.reshape(-1, channels)
        if mask is None or not self.training or mask.all():
            return self._normed(rows).reshape(x.shape)
        real = mask.reshape(-1, 1).expand(-1, len(rows) // mask.numel()).flatten()
        if self._alone():
            return self._masked(rows, real).reshape(x.shape)
        normed = self._normed(rows[real])
        return torch.zeros_like(rows).index_put((real.nonzero().squeeze(1),), normed).reshape(x.shape)

    def _alone(self) -> bool:
        return not (self.synchronised and _processes() > 1)

    def _masked(self, x: Tensor, real: Tensor) -> Tensor:
        """(K, C) -> (K, C), normed where `real` (K) is True, else 0, by what this process has."""
        count = int(real.sum())
        if count < 2:
            raise ValueError(f"a norm needs more than 1 value a channel in training, got {count}")
        ones = x.new_ones(self.num_features)
        affine = (self.weight, self.bias) if self.affine else (ones, torch.zeros_like(ones))
        with torch.autocast(x.device.type, enabled=False):  # its sums are matrix products
            y, mean, variance = _MaskedNorm.apply(x, real.to(x.dtype), *affine, self.eps)
        self._track(mean, variance, count)
        return y

    def _normed(self, x: Tensor) -> Tensor:
        """(K, C) -> (K, C)"""
        if not self.training or self._alone():
            return super().forward(x)
        mean, variance, rows = _shared_statistics(x)
        self._track(mean, variance, rows)
        weight, bias = (self.weight, self.bias) if self.affine else (1.0, 0.0)
        scale = weight * (variance + self.eps).rsqrt()
        shift = bias - mean * scale
        return torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, rows: Tensor | int) -> None:
        self.num_batches_tracked.add_(1)
        momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_((variance * rows / (rows - 1)).to(self.running_var.dtype), momentum)

    def affine_map(self) -> tuple[Tensor, Tensor]:
        """(scale, shift), each (C,): what evaluation does to a channel, y = scale * x + shift.

        >>> scale, shift = MaskedBatchNorm(2, eps=0.0).affine_map()
        >>> scale.tolist(), shift.tolist()
        ([1.0, 1.0], [0.0, 0.0])
        """
        scale = self.weight / (self.running_var + self.eps).sqrt()
        return scale, self.bias - scale * self.running_mean


def synchronise_norms(module: nn.Module, synchronised: bool) -> None:
    """Sets `MaskedBatchNorm.synchronised` of every such norm in `module`.

    >>> network = nn.Sequential(MaskedBatchNorm(2))
    >>> synchronise_norms(network, False)
    >>> network[0].synchronised
    False
    """
    for each in module.modules():
        if isinstance(each, MaskedBatchNorm):
            each.synchronised = synchronised


def _processes() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _shared_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance (C,) of the rows (K, C) of all processes, and how many rows that are, in fp64."""
    # torch.distributed.all_reduce passes no gradient; this one sums gradients over the processes.
    from torch.distributed.nn.functional import all_reduce

    # In fp64 the mean's square can be added to the variance and taken off again.
    variance, mean = (part.double() for part in torch.var_mean(x, 0, correction=0))
    sums = all_reduce(torch.cat((mean, variance + mean.square(), mean.new_ones(1))) * len(x))
    rows = sums[-1].detach()
    mean, square = (sums[:-1] / rows).chunk(2)
    return mean, square - mean.square(), rows


class _MaskedNorm(torch.autograd.Function):
    """Batch norm of the rows of x (K, C) whose `real` (K) is 1, zero elsewhere; also their mean and variance.

    Rows stay where they are, instead of being picked out and put back, forward and backward.
    """

    @staticmethod
    def forward(ctx, x: Tensor, real: Tensor, weight: Tensor, bias: Tensor, eps: float):
        mean, variance = _real_statistics(x, real)
        inverse = (variance + eps).rsqrt()
        scale = (weight * inverse).to(x.dtype)
        shift = (bias - mean * inverse * weight).to(x.dtype)
        y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        for x_, y_ in pieces(x, y):
            torch.addcmul(shift, x_, scale, out=y_)
        y.index_fill_(0, _padding(real), 0.0)
        ctx.save_for_backward(x, real, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor, *_):
        with torch.autocast(grad.device.type, enabled=False):
            return _MaskedNorm._backward(ctx, grad)

    @staticmethod
    def _backward(ctx, grad: Tensor):
        x, real, weight, mean, inverse = ctx.saved_tensors
        center, buffer = mean.to(x.dtype), None
        sums = []
        for x_, real_, grad_ in pieces(x, real, grad):
            buffer = torch.empty_like(x_) if buffer is None else buffer[: len(x_)]
            sums.append((real_ @ grad_, real_ @ torch.sub(x_, center, out=buffer).mul_(grad_)))
        of_grad, of_product = (torch.stack(parts).double().sum(0) for parts in zip(*sums, strict=True))
        grad_bias, grad_weight = of_grad, of_product * inverse
        count, scale = real.sum(dtype=torch.float64), weight * inverse
        # dL/dx = scale (g - mean(g) - xhat mean(g xhat)), for xhat = (x - mean) inverse
        slope = -scale * inverse * grad_weight / count
        parts = (scale, slope, -scale * grad_bias / count - slope * mean)
        scale, slope, shift = (part.to(x.dtype) for part in parts)
        grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        for x_, grad_, out in pieces(x, grad, grad_x):
            torch.addcmul(shift, x_, slope, out=out).addcmul_(grad_, scale)
        grad_x.index_fill_(0, _padding(real), 0.0)
        return grad_x, None, grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None


def _real_statistics(x: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (C) of the rows of x (K, C) whose `real` (K) is 1, in fp64; piece by piece (Chan)."""
    counts, means, squares, buffer = [], [], [], None
    for x_, real_ in pieces(x, real):
        buffer = torch.empty_like(x_) if buffer is None else buffer[: len(x_)]
        counts.append(real_.sum())
        means.append((real_ @ x_) / counts[-1].clamp(min=1))
        squares.append(real_ @ torch.sub(x_, means[-1], out=buffer).square_())
    count, of_piece, square = (torch.stack(parts).double() for parts in (counts, means, squares))
    mean = (count @ of_piece) / count.sum()
    return mean, (square.sum(0) + count @ (of_piece - mean).square()) / count.sum()


def _padding(real: Tensor) -> Tensor:
    """Rows whose `real` (K) is 0."""
    return (real == 0).nonzero().squeeze(1)


def pieces(*tensors: Tensor):
    """Tensors, cut along their first axis alike: on a CPU into pieces that stay in the cache.

    >>> [len(piece) for (piece,) in pieces(torch.zeros(3, 4))]
    [3]
    """
    first = tensors[0]
    rows = len(first)
    if first.device.type == "cpu":
        rows = max(1, _PIECE * torch.get_num_threads() * rows // max(1, first.numel()))
    return zip(*(tensor.split(rows) for tensor in tensors), strict=True)
