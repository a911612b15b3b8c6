"""Batch normalisation whose statistics leave padding out and take in all processes that train together."""

import torch
from torch import Tensor, distributed, nn


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
        real = None if mask is None or not self.training else mask.flatten().nonzero().squeeze(1)
        if real is None or len(real) == mask.numel():
            return self._normed(x.reshape(-1, channels)).reshape(x.shape)
        tokens = x.flatten(0, 1)
        picked = tokens.index_select(0, real)
        normed = self._normed(picked.reshape(-1, channels)).reshape(picked.shape)
        return torch.zeros_like(tokens).index_copy(0, real, normed).reshape(x.shape)

    def _normed(self, x: Tensor) -> Tensor:
        """(K, C) -> (K, C)"""
        if not (self.training and self.synchronised and _processes() > 1):
            return super().forward(x)
        mean, variance, rows = _shared_statistics(x)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
            self.running_var.lerp_((variance * rows / (rows - 1)).to(self.running_var.dtype), momentum)
        weight, bias = (self.weight, self.bias) if self.affine else (1.0, 0.0)
        scale = weight * (variance + self.eps).rsqrt()
        shift = bias - mean * scale
        return torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))

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
