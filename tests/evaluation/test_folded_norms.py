"""Which norms cost what, by who stands beside them."""

import pytest
import torch
from torch import nn

from imlspike.layers.norm import Affine, MaskedBatchNorm
from imlspike.layers.token_conv import TokenConv
from imlspike.neurons import IMLS, ReLU
from tests.evaluation.test_operations import count, total


class Branch(nn.Module):
    """Layers one after the other; `joins`: the first one's output is added at the end, too."""

    def __init__(self, *layers, joins=False):
        super().__init__()
        self.layers, self.joins = nn.Sequential(*layers), joins

    def forward(self, x):
        y = self.layers[0](x)
        return self.layers[1:](y) + y if self.joins else self.layers[1:](y)


@pytest.mark.parametrize(
    ("layers", "joins", "left", "normed"),
    [
        ((MaskedBatchNorm(4), IMLS(threshold="fixed")), False, (0, 0), 12),
        ((Affine(MaskedBatchNorm(4)), IMLS(threshold="learned")), False, (0, 0), 12),
        ((MaskedBatchNorm(4), IMLS(threshold="token")), False, (1, 1), 0),
        ((MaskedBatchNorm(4), IMLS(threshold="fixed", signed=True)), False, (1, 1), 0),
        ((MaskedBatchNorm(4), IMLS(threshold="fixed")), True, (1, 1), 0),
        ((MaskedBatchNorm(4), ReLU()), False, (1, 0), 0),
        ((MaskedBatchNorm(4), nn.GELU()), False, (1, 1), 0),
        ((nn.LayerNorm(4), nn.Linear(4, 4)), False, (3, 2), 0),
        ((nn.LayerNorm(4), nn.Linear(4, 4)), True, (4, 3), 0),
        ((nn.LayerNorm(4, elementwise_affine=False), nn.Linear(4, 4)), False, (4, 3), 0),
        ((nn.LayerNorm(4), TokenConv(4, 4, kernel=3)), False, (4, 3), 0),  # beyond the ends there is no shift
    ],
)
def test_which_norms_cost_what(layers, joins, left, normed):
    rows = count(Branch(*layers, joins=joins), torch.randn(1, 3, 4))
    norm = rows["layers.0", "elementwise"]
    assert (norm.additions, norm.multiplications) == tuple(12 * each for each in left)
    assert total(rows, "normed") == normed


def test_a_relu_leaves_a_norms_scale_to_the_weights_behind_it():
    """So does a rounding to levels, whose thresholds it scales: tests/models/test_unfolded.py."""
    x, weight = torch.randn(9, 4), torch.randn(4, 5)
    scale, shift = torch.tensor([2.0, -0.5, 0.1, -3.0]), torch.randn(4)
    folded = (x * scale.sign() + shift / scale.abs()).relu() @ (scale.abs()[:, None] * weight)
    torch.testing.assert_close(folded, (scale * x + shift).relu() @ weight)


def test_a_norm_behind_a_convolution_is_part_of_it():
    layers = nn.Conv1d(3, 4, 5), nn.BatchNorm1d(4), nn.SiLU()
    rows = count(nn.Sequential(*layers), torch.randn(1, 3, 9))
    assert (rows["1", "elementwise"].additions, rows["1", "elementwise"].multiplications) == (0, 0)
