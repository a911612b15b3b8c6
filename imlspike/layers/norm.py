"""Batch normalisation whose statistics leave padding out and take in all processes that train together."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from imlspike.layers.layout import Layout


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over real tokens only: an utterance means the same alone and in a padded batch.

    In training the mean and variance of each channel are those of the real tokens; padding comes out as zero.
    In evaluation it is the affine map of the running statistics, on every token; so it is in training where
    it is frozen (none of its parameters wants a gradient), and on fewer than two values a channel, those of
    all processes together, which have no variance. The running statistics don't change then.

    Several processes (`torch.distributed`) that share a batch normalise it as one process would: the
    statistics are those of the tokens of all of them, and so are the gradients. That costs one message of
    2 C + 1 numbers a process forward and one backward; `synchronised = False` saves them, and each process
    then has the statistics of its own tokens.

    It is computed in fp32 at least. What comes out has the dtype of the norm's own tensors (or of `x`, if
    that is wider): under autocast fp32, so that the residual sums and the thresholds of the neurons behind it
    are exact; half precision only where the whole module was cast to it.

    Args: those of `torch.nn.BatchNorm1d` but `track_running_stats`, which stays True: evaluation needs the
        running statistics.

    Attributes:
        synchronised: True, or False as above.
        recomputing: within `recomputing()`; the running statistics have seen the batch already.

    Forward:
        x: (..., C); with `layout` (B, N, ..., C).
        layout: which of the tokens are real; None: all.
        owner: the module whose parameters say whether the norm is frozen; None: its own.

    Returns:
        the shape of `x`.

    >>> norm = MaskedBatchNorm(3)
    >>> x, layout = torch.randn(2, 5, 3), Layout(torch.tensor([5, 2]), 5)
    >>> torch.allclose(norm(x, layout)[layout.mask], torch.nn.BatchNorm1d(3)(x[layout.mask]))
    True
    """

    synchronised, recomputing = True, False

    def forward(self, x: Tensor, layout: Layout | None = None, owner: nn.Module | None = None) -> Tensor:
        wanted = [each.requires_grad for each in (owner or self).parameters()] if self.training else [False]
        learns = any(wanted) or not wanted
        if layout is not None and self.training:
            return layout.unpack(self._normed(layout.pack(x), learns))
        return self._normed(x, learns)

    def _normed(self, x: Tensor, learns: bool) -> Tensor:
        dtype = torch.promote_types(x.dtype, self.running_mean.dtype)
        wide = torch.promote_types(dtype, torch.float32)
        rows = x.reshape(-1, self.num_features).to(wide)
        own = (self.running_mean, self.running_var, self.weight, self.bias)
        mean, variance, weight, bias = (each if each is None else each.to(wide) for each in own)
        shared = self.synchronised and _processes() > 1
        if not learns or not (shared or torch.compiler.is_compiling() or len(rows) > 1):
            y = F.batch_norm(rows, mean, variance, weight, bias, eps=self.eps)
            return y.to(dtype).view(x.shape)
        self.num_batches_tracked.add_(not self.recomputing)
        momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        momentum = 0.0 if self.recomputing else momentum
        if shared:
            y = _shared_norm(rows, (mean, variance), weight, bias, momentum, self.eps)
        else:
            # Not F.batch_norm: no compiler gets past its check of the size where the number of rows is data.
            enabled = torch.backends.cudnn.enabled
            y = torch.batch_norm(rows, weight, bias, mean, variance, True, momentum, self.eps, enabled)
        for buffer, new in zip(own[:2], (mean, variance), strict=True):
            if new is not buffer:  # half precision: what was updated is a copy
                buffer.copy_(new)
        return y.to(dtype).view(x.shape)

    def affine_map(self) -> tuple[Tensor, Tensor]:
        """(scale, shift), each (C,): what evaluation does to a channel, y = scale * x + shift.

        >>> scale, shift = MaskedBatchNorm(2, eps=0.0).affine_map()
        >>> scale.tolist(), shift.tolist()
        ([1.0, 1.0], [0.0, 0.0])
        """
        scale = (self.running_var + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        shift = -scale * self.running_mean
        return scale, shift if self.bias is None else shift + self.bias


class Affine(nn.Module):
    """A batch norm in evaluation: y = scale x + shift on (..., C), product and sum each rounded."""

    def __init__(self, norm: MaskedBatchNorm):
        super().__init__()
        scale, shift = (each.detach().clone() for each in norm.affine_map())
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor, *_, **__) -> Tensor:
        return x * self.scale + self.shift


def plain_norms(module: nn.Module) -> nn.Module:
    """Replace every `MaskedBatchNorm` in `module`, in place, by its `Affine`; returns `module`."""
    for name, child in module.named_children():
        if isinstance(child, MaskedBatchNorm):
            setattr(module, name, Affine(child))
        else:
            plain_norms(child)
    return module


def synchronise_norms(module: nn.Module, synchronised: bool) -> None:
    """Set `MaskedBatchNorm.synchronised` of every such norm in `module`.

    >>> network = nn.Sequential(MaskedBatchNorm(2))
    >>> synchronise_norms(network, False)
    >>> network[0].synchronised
    False
    """
    for each in module.modules():
        if isinstance(each, MaskedBatchNorm):
            each.synchronised = synchronised


@contextmanager
def recomputing() -> Iterator[None]:
    """Within the block, no `MaskedBatchNorm` changes its running statistics: a second forward for gradients.

    >>> norm = MaskedBatchNorm(2)
    >>> with recomputing():
    ...     _ = norm(torch.randn(5, 2))
    >>> norm.running_mean, norm.num_batches_tracked
    (tensor([0., 0.]), tensor(0))
    """
    MaskedBatchNorm.recomputing = True
    try:
        yield
    finally:
        MaskedBatchNorm.recomputing = False


def _processes() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def of_first_process(draws: Tensor) -> None:
    """Overwrite a tensor by the first process's, where several train together."""
    if _processes() > 1:
        distributed.broadcast(draws, 0)


def _shared_norm(x, running: tuple[Tensor, Tensor], weight, bias, momentum: float, eps: float) -> Tensor:
    """`torch.batch_norm` in training by the statistics of the rows (K, C) of all processes."""
    mean, variance, rows = _shared_statistics(x)
    # Not an `if`, for which the host would have to wait for a GPU.
    mean, variance = torch.where(rows > 1, torch.stack((mean, variance)), torch.stack(running))
    with torch.no_grad():
        unbiased = torch.where(rows > 1, rows / (rows - 1).clamp(min=1), 1.0) * variance
        for old, new in zip(running, (mean, unbiased), strict=True):
            old.lerp_(new, momentum)
    scale = (variance + eps).rsqrt()
    y = (x - mean) * (scale if weight is None else scale * weight)
    return y if bias is None else y + bias


def _shared_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance (C,) of the rows (K, C) of all processes, and how many rows that are."""
    # torch.distributed.all_reduce passes no gradient; this one sums gradients over the processes.
    from torch.distributed.nn.functional import all_reduce

    # A process without rows takes part, in the backward pass too: it sends zeros, of which none are counted.
    variance, mean = torch.var_mean(x, 0, correction=0) if len(x) else (x.sum(0), x.sum(0))
    own = torch.cat((mean, variance, mean.new_full((1,), x.shape[0])))
    # Each process writes a row of one table. Deviations are taken from the common mean before they are
    # squared (Chan et al.), so that fp32 will do.
    table = own.new_zeros(_processes(), len(own))
    table[distributed.get_rank()] = own
    means, variances, counts = all_reduce(table).split((len(mean), len(mean), 1), 1)
    rows = counts.detach().sum()
    share = counts.detach() / rows.clamp(min=1)
    mean = (share * means).sum(0)
    return mean, (share * (variances + (means - mean).square())).sum(0), rows
