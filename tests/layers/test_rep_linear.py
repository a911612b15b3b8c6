"""RepLinear: what is trained as branches folds into one linear map, exactly."""

import copy
from itertools import combinations

import pytest
import torch
from torch import nn

from imlspike.layers import Layout, RepLinear, fold_rep_linears
from imlspike.layers.over_time import over_time
from imlspike.layers.rep_linear import BRANCHES

SETS = [s for n in (1, 2, 3) for s in combinations(BRANCHES, n) if s != ("identity",)]


def train_a_little(layer, steps=4):
    """A few steps on shifted data: no weight, statistic or affine parameter stays as it was."""
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.3)
    like = next(layer.parameters())
    for _ in range(steps):
        x = (2 * torch.randn(3, 9, layer.in_features) + 1).to(like.dtype)
        target = torch.randn(3, 9, layer.out_features).to(like.dtype)
        optimiser.zero_grad()
        (layer(x) - target).square().mean().backward()
        optimiser.step()


@pytest.mark.parametrize("branches", SETS, ids="+".join)
@pytest.mark.parametrize("out_features", [6, 10])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_folded_is_unfolded(branches, out_features, dtype, tolerance):
    layer = RepLinear(6, out_features, branches).to(dtype)
    for trained in (False, True):
        if trained:
            before = copy.deepcopy(layer.state_dict())
            train_a_little(layer)
            assert all(not torch.equal(t, before[name]) for name, t in layer.state_dict().items())
        layer.eval()
        folded = layer.folded()
        x = (3 * torch.randn(50, 6) - 1).to(dtype)
        want = layer(x)
        torch.testing.assert_close(folded(x), want, rtol=tolerance, atol=tolerance)
        assert type(folded) is nn.Linear and folded.weight.dtype == dtype and not folded.training
        assert sum(p.numel() for p in folded.parameters()) == 6 * out_features + out_features
        layer.train()


@pytest.mark.parametrize("branches", SETS, ids="+".join)
def test_padding_has_no_effect(branches):
    """Tokens of a padded batch, packed and unpacked: output, statistics and gradients are the utterances'."""
    layer = RepLinear(4, 4, branches).double()
    other = copy.deepcopy(layer)
    layout = Layout(torch.tensor([7, 3]), 7)
    mask = layout.mask
    x = torch.randn(2, 7, 4, dtype=torch.float64)
    x[~mask] = 1e3
    padded, packed = over_time(layer, x[None], layout)[0, mask], other(x[mask])
    torch.testing.assert_close(padded, packed)
    weights = torch.randn_like(packed)
    (padded * weights).sum().backward()
    (packed * weights).sum().backward()
    for a, b in zip(layer.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    for a, b in zip(layer.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_every_branch_is_a_part_of_the_sum():
    """The three branches alone, sharing weights with the whole, add up to it."""
    whole = RepLinear(5, 5, BRANCHES).double().eval()
    train_a_little(whole.train())
    whole.eval()
    x = torch.randn(8, 5, dtype=torch.float64)
    linear = whole.linear["norm"](whole.linear["weight"](x))
    wide = whole.narrow["norm"](whole.narrow["weight"](whole.widen["norm"](whole.widen["weight"](x))))
    torch.testing.assert_close(whole(x), linear + wide + whole.identity(x))
    assert whole.widen["weight"].out_features == 8  # 1.5 times 5, rounded to even
    assert RepLinear(5, 7, BRANCHES).identity is None


@pytest.mark.parametrize("branch", BRANCHES)
def test_gain_is_the_scale_that_every_branch_starts_from(branch):
    branches = {branch, "linear"} - ({"linear"} if branch == "wide" else set())
    plain, gained = RepLinear(5, 5, branches), RepLinear(5, 5, branches, gain=0.25)
    names = [name for name in plain.state_dict() if not name.endswith(("norm.weight", "identity.weight"))]
    gained.load_state_dict({name: plain.state_dict()[name] for name in names}, strict=False)
    x = torch.randn(9, 5)
    torch.testing.assert_close(gained(x), 0.25 * plain(x))


def test_all_rep_linears_of_a_module_are_folded():
    model = nn.Sequential(
        RepLinear(4, 6), nn.Sequential(nn.ReLU(), RepLinear(6, 6, BRANCHES)), nn.Linear(6, 2)
    ).eval()
    x = torch.randn(9, 4)
    want = model(x)
    assert fold_rep_linears(model) is model
    assert not any(isinstance(m, RepLinear) for m in model.modules())
    torch.testing.assert_close(model(x), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("branches", [(), ("identity",), ("linear", "deep")])
def test_bad_branches_are_errors(branches):
    with pytest.raises(ValueError, match="branches"):
        RepLinear(4, 4, branches)
