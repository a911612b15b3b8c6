"""From tokens to frames: each token repeated for its duration."""

import torch
from torch import Tensor

from imlspike.layers import Layout
from imlspike.layers.over_time import blank


def regulate(x: Tensor, durations: Tensor) -> tuple[Tensor, Layout]:
    """Repeats each token for as many frames as it lasts (FastSpeech, section 3.2).

    Args:
        x: (T, B, N, C) tokens.
        durations: (B, N) whole frames, zero at padding; a token of no frames is left out.

    Returns:
        (T, B, L, C), zero at padding, and the `Layout` of the frames; L is the longest utterance's. One
        utterance has no padding, so its layout has no lengths.

    >>> x = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    >>> frames, layout = regulate(x, torch.tensor([[2, 0, 3]]))
    >>> frames.flatten().tolist(), layout.tokens
    ([1.0, 1.0, 3.0, 3.0, 3.0], 5)
    """
    ends = durations.cumsum(1)
    longest = ends[:, -1].max().item()
    torch._check(longest > 0)  # an exporter takes it for any number
    layout = Layout(ends[:, -1] if len(ends) > 1 else None, longest, len(ends))
    frames = torch.arange(longest, device=x.device).expand(layout.batch, -1).contiguous()
    token = torch.searchsorted(ends, frames, right=True).clamp(max=durations.shape[1] - 1)
    token = token + durations.shape[1] * torch.arange(layout.batch, device=x.device)[:, None]
    repeated = x.flatten(1, 2).index_select(1, token.flatten()).unflatten(1, token.shape)
    return blank(repeated, layout), layout
