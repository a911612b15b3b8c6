"""Depthwise convolution over frames of channels that lie side by side."""

import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseConv(nn.Conv1d):
    """A depthwise convolution over frames, channels last, with zeros beyond the ends.

    Args:
        channels: C.
        kernel: frames under it, odd.

    Forward: x (..., L, C) -> (..., L, C).

    Raises:
        ValueError: an even kernel, which has no middle.

    >>> import torch
    >>> conv, x = DepthwiseConv(8, 7), torch.randn(2, 10, 8)
    >>> plain = F.conv1d(x.transpose(1, 2), conv.weight, conv.bias, padding=3, groups=8).transpose(1, 2)
    >>> torch.allclose(conv(x), plain, atol=1e-5)
    True
    """

    def __init__(self, channels: int, kernel: int):
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be an odd number of frames, got {kernel}")
        super().__init__(channels, channels, kernel, padding=kernel // 2, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        # (B, 1, L, C) seen as (B, C, 1, L) is torch's channels-last memory format: nothing is copied.
        images = x.reshape(-1, 1, *x.shape[-2:]).permute(0, 3, 1, 2)
        padding = (0, self.padding[0])
        y = F.conv2d(images, self.weight[:, :, None], self.bias, padding=padding, groups=self.groups)
        return y.permute(0, 2, 3, 1).reshape(x.shape)
