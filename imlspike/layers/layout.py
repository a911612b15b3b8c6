"""Layout: how the tokens of a padded batch lie in one row of real tokens, and back."""

import torch
from torch import Tensor


class Layout:
    """Takes padding out of a batch once, so that what works token by token never sees it.

    Without lengths, or where all are full, packing is a reshape: no operation depends on the data. Whether
    lengths are full is looked up in eager execution only; a compiled program serves any lengths, which asks
    for ``torch._dynamo.config.capture_dynamic_output_shape_ops`` (the number of real tokens is data).

    Args:
        lengths: (B,) numbers of real tokens; None: there is no padding.
        tokens: N, the padded length.
        batch: B; needed without lengths only.

    Attributes:
        mask: (B, N), True = a real token; None: there is no padding.

    >>> layout = Layout(torch.tensor([2, 1]), tokens=2)
    >>> x = torch.arange(4.0).reshape(2, 2, 1)
    >>> layout.pack(x).flatten(), layout.unpack(layout.pack(x)).flatten()
    (tensor([0., 1., 2.]), tensor([0., 1., 2., 0.]))
    >>> Layout(None, tokens=2, batch=2).pack(x).flatten()
    tensor([0., 1., 2., 3.])
    """

    def __init__(self, lengths: Tensor | None, tokens: int, batch: int | None = None):
        self.lengths, self.tokens = lengths, tokens
        self.batch = len(lengths) if batch is None else batch
        self.mask = self._real = None
        if lengths is not None:
            mask = torch.arange(tokens, device=lengths.device) < lengths[:, None]
            if torch.compiler.is_compiling() or not mask.all():
                self.mask, self._real = mask, mask.flatten().nonzero().squeeze(1)
            if torch.compiler.is_compiling():
                torch._check(self._real.shape[0] > 0)  # else it had to allow for a batch of nothing

    def pack(self, x: Tensor, dim: int = 0) -> Tensor:
        """(B, N, ...) -> (K, ...), the K real tokens, utterance after utterance; B and N may be axes `dim`
        and `dim` + 1."""
        tokens = x.flatten(dim, dim + 1)
        return tokens if self._real is None else tokens.index_select(dim, self._real)

    def unpack(self, x: Tensor, dim: int = 0) -> Tensor:
        """(K, ...) -> (B, N, ...), zero at padding; K may be axis `dim`."""
        if self._real is not None:
            shape = (*x.shape[:dim], self.batch * self.tokens, *x.shape[dim + 1 :])
            x = x.new_zeros(shape).index_copy(dim, self._real, x)
        return x.unflatten(dim, (self.batch, self.tokens))
