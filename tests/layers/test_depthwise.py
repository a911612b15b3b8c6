"""Depthwise convolution of channels that lie last against torch's own."""

import pytest
import torch
from torch.nn import functional

from imlspike.layers.depthwise import DepthwiseConv


@pytest.mark.parametrize("shape", [(2, 11, 20), (3, 2, 5, 20), (1, 1, 2, 20)])
def test_it_is_torchs(shape):
    """Values and gradients, of a view as of its copy."""
    conv = DepthwiseConv(20, 7)
    x = torch.randn(*shape[:-2], shape[-1], shape[-2]).mT.requires_grad_()
    flat = x.flatten(0, -3).mT
    plain = functional.conv1d(flat, conv.weight, conv.bias, padding=3, groups=20).mT.reshape(shape)
    weights, leaves = torch.randn(shape), [x, *conv.parameters()]
    got, want = conv(x), plain
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    both = (torch.autograd.grad((y * weights).sum(), leaves) for y in (got, want))
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", [0, 2, -1])
def test_an_even_kernel_has_no_middle(kernel):
    with pytest.raises(ValueError, match=f"odd.*{kernel}"):
        DepthwiseConv(4, kernel)
