"""The temporal shift of Spiking Vocos: some channels see the time step before, some the one after."""

import torch
from torch import Tensor, nn


class TemporalShift(nn.Module):
    r"""Each time step takes a quarter of its channels from the next one and a quarter from the one before.

    Spiking Vocos, equations 13 and 14, for channels c of C and time steps t of T:

    .. math::
        s_{tc} &= x_{t+1,c} \ (c < C/4), \quad x_{tc} \ (C/4 \le c < 3C/4), \quad x_{t-1,c} \ (3C/4 \le c) \\
        y &= \alpha s + x

    Beyond the first and the last step there are zeros. Where C is no multiple of 4 the quarters are rounded
    down.

    Args:
        channels: C, at least 4.
        alpha: how much the shifted channels weigh.
        learnable: alpha is a parameter that starts at `alpha` (the paper's is fixed, its code's is learned).

    Forward: x (T, ..., C) -> (T, ..., C).

    Raises:
        ValueError: on fewer than four channels.

    >>> shift = TemporalShift(4, alpha=1.0)
    >>> shift(torch.tensor([[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0]]))
    tensor([[3., 2., 2., 1.],
            [2., 4., 4., 3.]])
    """

    def __init__(self, channels: int, alpha: float = 0.5, learnable: bool = False):
        super().__init__()
        if channels < 4:
            raise ValueError(f"a quarter of the channels is shifted: expected at least 4, got {channels}")
        self.quarter = channels // 4
        self.alpha = nn.Parameter(torch.tensor(float(alpha))) if learnable else float(alpha)

    def forward(self, x: Tensor) -> Tensor:
        ahead, same, behind = x.split((self.quarter, x.shape[-1] - 2 * self.quarter, self.quarter), -1)
        zeros = torch.zeros_like(ahead[:1])
        ahead, behind = torch.cat((ahead[1:], zeros)), torch.cat((zeros, behind[:-1]))
        return x + self.alpha * torch.cat((ahead, same, behind), -1)

    def extra_repr(self) -> str:
        learnable = isinstance(self.alpha, nn.Parameter)
        return f"alpha={self.alpha.item() if learnable else self.alpha:g}, learnable={learnable}"
