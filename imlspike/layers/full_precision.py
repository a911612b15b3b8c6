"""Constants that stay in full precision when their network is cast to half precision."""

from torch import nn


class FullPrecisionBuffers(nn.Module):
    """A module whose buffers follow it to any device, but never become narrower than they are.

    For windows and filter banks, of which half precision would be heard. `Module.half`, `bfloat16` and `to`
    go through `_apply`.

    >>> import torch
    >>> module = FullPrecisionBuffers()
    >>> module.register_buffer("window", torch.ones(2))
    >>> module.half().window.dtype, module.double().window.dtype
    (torch.float32, torch.float64)
    """

    def _apply(self, fn, recurse=True):
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            now = self._buffers[name]
            if now.dtype.itemsize < buffer.dtype.itemsize:
                self._buffers[name] = buffer.to(now.device)
        return self
