"""Layout: how the tokens of a padded batch lie in one row of real tokens, and back."""

import torch
from torch import Tensor


class Layout:
    """Takes padding out of a batch once, so that what works token by token never sees it.

    Args:
        lengths: (B,) numbers of real tokens.
        tokens: N, the padded length.

    Attributes:
        mask: (B, N), True = a real token.
        full: whether there is no padding.

    >>> layout = Layout(torch.tensor([2, 1]), tokens=2)
    >>> x = torch.arange(4.0).reshape(2, 2, 1)
    >>> layout.pack(x).flatten(), layout.unpack(layout.pack(x)).flatten()
    (tensor([0., 1., 2.]), tensor([0., 1., 2., 0.]))
    """

    def __init__(self, lengths: Tensor, tokens: int):
        self.lengths, self.batch, self.tokens = lengths, len(lengths), tokens
        self.mask = torch.arange(tokens, device=lengths.device) < lengths[:, None]
        self.full = bool(self.mask.all())
        self._real = None if self.full else self.mask.flatten().nonzero().squeeze(1)

    def pack(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (K, C), the K real tokens, utterance after utterance."""
        tokens = x.reshape(self.batch * self.tokens, *x.shape[2:])
        return tokens if self._real is None else tokens.index_select(0, self._real)

    def unpack(self, x: Tensor) -> Tensor:
        """(K, C) -> (B, N, C), zero at padding."""
        if self._real is not None:
            x = x.new_zeros(self.batch * self.tokens, *x.shape[1:]).index_copy(0, self._real, x)
        return x.unflatten(0, (self.batch, self.tokens))
