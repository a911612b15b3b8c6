"""RepLinear: parallel linear branches in training, one linear map at inference."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from imlspike.layers.norm import MaskedBatchNorm

BRANCHES = ("linear", "wide", "identity")
WIDENING = 1.5


class RepLinear(nn.Module):
    """A linear map that is trained as a sum of branches and folds exactly into one `torch.nn.Linear`.

    Branches (IML-Spikeformer names the re-parameterisation; which branches is our choice):
    ``linear``: linear, batch norm. ``wide``: linear to 1.5 times the width, batch norm, linear, batch norm.
    ``identity``: batch norm of the input, where it has as many channels as the output (otherwise left out).

    Args:
        in_features, out_features: channels.
        branches: which of the above; must hold ``linear`` or ``wide``.
        gain: what the scales of the branches' last batch norms start from.

    Forward:
        x: (..., C_in), tokens without padding.

    Returns:
        (..., C_out)

    Raises:
        ValueError: on an unknown branch, or none that maps to any number of channels.

    >>> layer = RepLinear(4, 4, branches=("linear", "wide", "identity")).eval()
    >>> x = torch.randn(7, 4)
    >>> torch.allclose(layer.folded()(x), layer(x), atol=1e-5)
    True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        branches: Sequence[str] = ("linear", "identity"),
        gain: float = 1.0,
    ):
        super().__init__()
        unknown = sorted(set(branches) - set(BRANCHES))
        if unknown or not {"linear", "wide"} & set(branches):
            raise ValueError(
                f"branches must be of {BRANCHES} and hold 'linear' or 'wide', got {tuple(branches)}"
            )
        self.in_features, self.out_features = in_features, out_features
        wide = round(WIDENING * in_features)
        # No biases: the batch norm that follows would take them out again.
        self.linear = _normed(in_features, out_features) if "linear" in branches else None
        self.widen = _normed(in_features, wide) if "wide" in branches else None
        self.narrow = _normed(wide, out_features) if "wide" in branches else None
        keeps_width = "identity" in branches and in_features == out_features
        self.identity = MaskedBatchNorm(in_features) if keeps_width else None
        for branch in (self.linear, self.narrow):
            if branch is not None:
                nn.init.constant_(branch["norm"].weight, gain)
        if self.identity is not None:
            nn.init.constant_(self.identity.weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        if self.linear is not None:
            parts.append(_apply(self.linear, x))
        if self.widen is not None:
            parts.append(_apply(self.narrow, _apply(self.widen, x)))
        if self.identity is not None:
            parts.append(self.identity(x))
        return sum(parts[1:], parts[0])

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """The one linear layer that equals this one in evaluation."""
        like = next(self.parameters())
        weight, bias = like.new_zeros(self.out_features, self.in_features), like.new_zeros(self.out_features)
        if self.linear is not None:
            w, b = _fold(self.linear)
            weight, bias = weight + w, bias + b
        if self.widen is not None:
            (w1, b1), (w2, b2) = _fold(self.widen), _fold(self.narrow)
            weight, bias = weight + w2 @ w1, bias + w2 @ b1 + b2
        if self.identity is not None:
            scale, shift = self.identity.affine_map()
            weight, bias = weight + scale.diag(), bias + shift
        linear = nn.Linear(self.in_features, self.out_features, device=like.device, dtype=like.dtype)
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
        return linear.train(self.training)


def _normed(in_features: int, out_features: int) -> nn.ModuleDict:
    linear = nn.Linear(in_features, out_features, bias=False)
    return nn.ModuleDict({"weight": linear, "norm": MaskedBatchNorm(out_features)})


def _apply(branch: nn.ModuleDict, x: Tensor) -> Tensor:
    return branch["norm"](branch["weight"](x))


def _fold(branch: nn.ModuleDict) -> tuple[Tensor, Tensor]:
    scale, shift = branch["norm"].affine_map()
    return scale[:, None] * branch["weight"].weight, shift


def fold_rep_linears(module: nn.Module) -> nn.Module:
    """Replaces every `RepLinear` in `module`, in place, by its folded `torch.nn.Linear`; returns `module`.

    >>> model = fold_rep_linears(nn.Sequential(RepLinear(4, 6), nn.ReLU()).eval())
    >>> model[0]
    Linear(in_features=4, out_features=6, bias=True)
    """
    for name, child in module.named_children():
        if isinstance(child, RepLinear):
            setattr(module, name, child.folded())
        else:
            fold_rep_linears(child)
    return module
