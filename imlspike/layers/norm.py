"""Batch normalisation whose statistics leave padding out."""

import torch
from torch import Tensor, nn


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over real tokens only: an utterance means the same alone and in a padded batch.

    In training the mean and variance of each channel are those of the tokens where `mask` is True (all,
    without a mask); padding comes out as zero. In evaluation it is the affine map of the running statistics,
    on every token.

    Args: those of `torch.nn.BatchNorm1d`.

    Forward:
        x: (K, C) tokens without padding, (B, N, C), or (B, N, F, C) with an axis F that shares the statistics
            of a channel.
        mask: (B, N), True = a real token; or None.

    Returns:
        the shape of `x`.

    Raises:
        ValueError: in training on fewer than two values a channel (torch's own check).

    >>> norm = MaskedBatchNorm(3)
    >>> x, mask = torch.randn(2, 5, 3), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    >>> torch.allclose(norm(x, mask)[mask], torch.nn.BatchNorm1d(3)(x[mask]))
    True
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the class."""
        channels = x.shape[-1]
        real = None if mask is None or not self.training else mask.flatten().nonzero().squeeze(1)
        if real is None or len(real) == mask.numel():
            return super().forward(x.reshape(-1, channels)).reshape(x.shape)
        tokens = x.flatten(0, 1)
        picked = tokens.index_select(0, real)
        normed = super().forward(picked.reshape(-1, channels)).reshape(picked.shape)
        return torch.zeros_like(tokens).index_copy(0, real, normed).reshape(x.shape)

    def affine_map(self) -> tuple[Tensor, Tensor]:
        """(scale, shift), each (C,): what evaluation does to a channel, y = scale * x + shift.

        >>> scale, shift = MaskedBatchNorm(2, eps=0.0).affine_map()
        >>> scale.tolist(), shift.tolist()
        ([1.0, 1.0], [0.0, 0.0])
        """
        scale = self.weight / (self.running_var + self.eps).sqrt()
        return scale, self.bias - scale * self.running_mean
