"""Layout: how the tokens of a padded batch lie in one row of real tokens, and back."""

import torch
from torch import Tensor


class Carried(dict):
    """State of a stream from one piece to the next: of each layer, under itself, tensors of constant size.

    It belongs to one stream, so that a model serves many at a time.

    Attributes:
        tokens: how many have gone through.
        constants: what layers compute once for each length of a piece.
        real: (B,) tokens of this piece that are real, where the last one is filled up; None: all.
    """

    def __init__(self):
        super().__init__()
        self.tokens, self.constants = 0, {}
        self.real: Tensor | None = None


class Layout:
    """Take padding out of a batch once, so that what works token by token never sees it.

    Without lengths, or where all are full, packing is a reshape: no operation depends on the data. Whether
    lengths are full is looked up in eager execution only; a compiled program serves any lengths, which asks
    for ``torch._dynamo.config.capture_dynamic_output_shape_ops`` (the number of real tokens is data).

    Args:
        lengths: (B,) numbers of real tokens; None: there is no padding.
        tokens: N, the padded length.
        batch: B; needed without lengths only.

    Attributes:
        mask: (B, N), True = a real token; None: there is no padding.
        look_ahead: what layers over tokens may see of the future: the rest of a group of `look_ahead` + 1
            tokens; None: all, or what the layer itself allows.
        carried: of a stream, of which these tokens are the next piece; None: they are all there is.

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
        self.look_ahead: int | None = None
        self.carried: Carried | None = None
        self.mask = self._real = self._padding = None
        if lengths is not None:
            mask = torch.arange(tokens, device=lengths.device) < lengths[:, None]
            if torch.compiler.is_compiling():
                self.mask, self._real = mask, _indices(mask)
                torch._check(self._real.shape[0] > 0)  # else it had to allow for a batch of nothing
            elif not mask.all():
                self.mask, self._real, self._padding = mask, _indices(mask), _indices(~mask)

    def pack(self, x: Tensor, dim: int = 0) -> Tensor:
        """(B, N, ...) -> (K, ...), the K real tokens, utterance after utterance; B and N may be axes `dim`
        and `dim` + 1."""
        tokens = x.flatten(dim, dim + 1)
        if self._padding is not None:
            return _Pack.apply(tokens, dim, self._real, self._padding)
        return tokens if self._real is None else tokens.index_select(dim, self._real)

    def unpack(self, x: Tensor, dim: int = 0) -> Tensor:
        """(K, ...) -> (B, N, ...), zero at padding; K may be axis `dim`."""
        if self._padding is not None:
            x = _Unpack.apply(x, dim, self._real, self._padding)
        elif self._real is not None:
            shape = (*x.shape[:dim], self.batch * self.tokens, *x.shape[dim + 1 :])
            x = x.new_zeros(shape).index_copy(dim, self._real, x)
        return x.unflatten(dim, (self.batch, self.tokens))


def _indices(mask: Tensor) -> Tensor:
    return mask.flatten().nonzero().squeeze(1)


class _Pack(torch.autograd.Function):
    """Pick the real rows. It and `_Unpack` are each other's gradients, each one pass over the memory; a
    compiler is given torch's own operations, which it fuses."""

    @staticmethod
    def forward(ctx, x: Tensor, dim: int, real: Tensor, padding: Tensor) -> Tensor:
        ctx.dim = dim
        ctx.save_for_backward(real, padding)
        return x.index_select(dim, real)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return _Unpack.apply(grad, ctx.dim, *ctx.saved_tensors), None, None, None


class _Unpack(torch.autograd.Function):
    """Put rows back to where they were picked from, zeros at padding."""

    @staticmethod
    def forward(ctx, x: Tensor, dim: int, real: Tensor, padding: Tensor) -> Tensor:
        ctx.dim = dim
        ctx.save_for_backward(real, padding)
        places = len(real) + len(padding)
        if not len(real):
            return x.new_zeros((*x.shape[:dim], places, *x.shape[dim + 1 :]))
        # Reading a row for each place takes a quarter of the time of writing each row to its place.
        rows = real.new_zeros(places)
        rows[real] = torch.arange(len(real), device=real.device)
        return x.index_select(dim, rows).index_fill_(dim, padding, 0)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return _Pack.apply(grad, ctx.dim, *ctx.saved_tensors), None, None, None
