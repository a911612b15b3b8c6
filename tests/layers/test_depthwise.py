"""Depthwise convolution of channels that lie last against the module that it stands for."""

import pytest
import torch
from torch import nn

from imlspike.layers.depthwise import depthwise
from imlspike.neurons import kernels, library


def by_module(x, conv):
    return conv(x.flatten(0, -3).mT).mT.view(x.shape)


@pytest.fixture
def calls(monkeypatch):
    """How often the loop ran forward."""
    count, loop = [], kernels.depthwise
    monkeypatch.setattr(kernels, "depthwise", lambda *args: (count.append(1), loop(*args))[1])
    return count


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("shape", [(2, 11, 20), (3, 2, 5, 20), (1, 1, 2, 20)])
def test_it_is_the_module(shape, loops, bias, calls, monkeypatch):
    """Values and gradients, of a view as of its copy."""
    if not loops:
        monkeypatch.setattr(library, "library", lambda: None)
    conv = nn.Conv1d(20, 20, 7, padding=3, groups=20, bias=bias)
    x = torch.randn(*shape[:-2], shape[-1], shape[-2]).mT.requires_grad_()
    weights, results = torch.randn(shape), []
    for function in (depthwise, by_module):
        y = function(x, conv)
        results.append((y, *torch.autograd.grad((y * weights).sum(), [x, *conv.parameters()])))
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    assert bool(calls) == (loops and library.library() is not None)


def test_only_what_is_asked_for_is_differentiated():
    conv, x = nn.Conv1d(4, 4, 3, padding=1, groups=4), torch.randn(2, 5, 4, requires_grad=True)
    conv.requires_grad_(False)
    depthwise(x, conv).sum().backward()
    assert conv.weight.grad is None and x.grad.any()
    conv.bias.requires_grad_(True)
    depthwise(x.detach(), conv).sum().backward()
    assert torch.equal(conv.bias.grad, torch.full((4,), 10.0)) and conv.weight.grad is None


def test_where_the_module_is_called(calls):
    """Another type, autocast, a hook, another kind of module."""
    conv, x = nn.Conv1d(4, 4, 3, padding=1, groups=4), torch.randn(2, 5, 4)
    assert depthwise(x.double(), conv.double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert depthwise(x, conv.float()).dtype == torch.bfloat16
    seen = []
    conv.register_forward_hook(lambda *args: seen.append(1))
    depthwise(x, conv)
    assert seen and not calls
