"""Batch normalisation whose statistics leave padding out and take in all processes that train together."""

import torch
from torch import Tensor, distributed, nn

from imlspike.layers.norm_functions import firing_serves, masked_norm, normed_spikes


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

    def fire(self, neuron: nn.Module, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """What a neuron makes of the normed tokens: neuron(norm(x)).

        With a LIF in training on a CPU, what enters the neurons is neither written nor kept.

        Args:
            neuron: takes (T, ..., C).
            x: (T, B, N, C).
            mask: (B, N), or None.

        Returns:
            (T, B, N, C) spikes.

        >>> from imlspike.neurons import LIF
        >>> norm, neuron = MaskedBatchNorm(3), LIF()
        >>> norm.fire(neuron, torch.randn(4, 2, 5, 3)).shape
        torch.Size([4, 2, 5, 3])
        """
        if self.training and self._alone() and firing_serves(x, self, neuron):
            rows, real = x.flatten(0, -2), None
            if mask is not None and not mask.all():
                real = mask.repeat(len(x), 1).flatten()
            count = self._count(rows, real)
            affine = (*self._affine(x), self.eps)
            spikes, mean, variance = normed_spikes(rows, real, count, *affine, len(x), neuron)
            self._track(mean, variance, count)
            return spikes.view(x.shape)
        mask = None if mask is None else mask.repeat(len(x), 1)
        return neuron(self(x.flatten(0, 1), mask).unflatten(0, x.shape[:2]))

    def _alone(self) -> bool:
        return not (self.synchronised and _processes() > 1)

    def _masked(self, x: Tensor, real: Tensor) -> Tensor:
        """(K, C) -> (K, C), normed where `real` (K) is True, else 0, by what this process has."""
        count = self._count(x, real)
        y, mean, variance = masked_norm(x, real, count, *self._affine(x), self.eps)
        self._track(mean, variance, count)
        return y

    def _count(self, x: Tensor, real: Tensor | None) -> int:
        count = len(x) if real is None else int(real.sum())
        if count < 2:
            raise ValueError(f"a norm needs more than 1 value a channel in training, got {count}")
        return count

    def _affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.affine:
            return self.weight, self.bias
        return x.new_ones(self.num_features), x.new_zeros(self.num_features)

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
