"""Helpers of layers over T time steps of padded batches: tensors (T, B, N, C) and their `Layout`."""

from torch import Tensor, nn

from imlspike.layers.layout import Layout

# First scale of the norms that feed neurons. On a constant current drawn from N(0, 1) a LIF with tau 2 and
# threshold 1 fires at 7 % of 4 steps; on twice that at 22 %, near the 19.5 % that the paper reports.
GAIN = 2.0


def over_time(norm: nn.Module, x: Tensor, layout: Layout) -> Tensor:
    """A batch norm, or a map that ends in one, on (T, B, N, C): statistics over T and all real tokens.

    In training padding comes out as zero; in evaluation it passes like any token.

    >>> import torch
    >>> from imlspike.layers import MaskedBatchNorm
    >>> layout = Layout(torch.tensor([2, 1]), 2)
    >>> over_time(MaskedBatchNorm(3), torch.randn(4, 2, 2, 3), layout)[:, 1, 1].any()
    tensor(False)
    """
    return layout.unpack(norm(layout.pack(x, 1)), 1) if norm.training else norm(x)


def blank(x: Tensor, layout: Layout) -> Tensor:
    """(..., B, N, C) with zeros at padding.

    >>> import torch
    >>> blank(torch.ones(2, 2, 1), Layout(torch.tensor([2, 1]), 2)).flatten()
    tensor([1., 1., 1., 0.])
    """
    return x if layout.mask is None else x * layout.mask[..., None].to(x.dtype)


class StepDropout(nn.Dropout):
    """Dropout of (T, ...) that leaves out the same values at all T steps.

    Were they drawn for each step, the mean over T would hardly lose any. It is less to draw, too.

    Args:
        p: rate.
        scaled: what stays is divided by 1 - p, as in `torch.nn.Dropout`; False: it stays as it is, for
            spikes.

    >>> import torch
    >>> kept = StepDropout(0.5)(torch.ones(4, 100))
    >>> torch.equal(kept[0], kept[3]), kept.unique().tolist()
    (True, [0.0, 2.0])
    >>> StepDropout(0.5, scaled=False)(torch.ones(1, 100)).unique().tolist()
    [0.0, 1.0]
    """

    def __init__(self, p: float = 0.5, scaled: bool = True):
        super().__init__(p)
        self.scaled = scaled

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        kept = super().forward(x.new_ones(1, *x.shape[1:]))
        return x * (kept if self.scaled else kept.ne(0))
