"""Convolution over tokens: torch's own, its gradients, and its norm."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from imlspike.layers import Layout
from imlspike.layers.token_conv import NormedConv, TokenConv, fold_normed_convs


@settings(max_examples=25)
@given(st.integers(1, 9), st.sampled_from([1, 3, 5, 9]), st.booleans())
def test_it_is_torchs(tokens, kernel, bias):
    conv = TokenConv(3, 4, kernel, bias).double()
    x = torch.randn(2, 3, tokens, 3, dtype=torch.float64, requires_grad=True)
    got = conv(x)
    flat = x.flatten(0, 1).transpose(1, 2)
    want = functional.conv1d(flat, conv.weight, conv.bias, padding=kernel // 2).transpose(1, 2)
    torch.testing.assert_close(got.flatten(0, 1), want)
    cotangent = torch.randn_like(got)
    inputs = [x, *conv.parameters()]
    grads = torch.autograd.grad((got * cotangent).sum(), inputs)
    wanted = torch.autograd.grad((want * cotangent.flatten(0, 1)).sum(), inputs)
    for a, b in zip(grads, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_its_norm_is_of_real_tokens_at_all_steps_and_folds():
    conv, layout = NormedConv(3, 4, 5, gain=2.0).double(), Layout(torch.tensor([7, 4]), 7)
    x = torch.randn(3, 2, 7, 3, dtype=torch.float64) * layout.mask[..., None]
    y = conv(x, layout)
    real = y[:, layout.mask].flatten(0, 1)
    assert torch.allclose(real.mean(0), real.new_zeros(4), atol=1e-9)
    assert torch.allclose(real.std(0, correction=0), real.new_full((4,), 2.0), rtol=1e-2)
    conv.eval()
    want = conv(x, layout)
    model = fold_normed_convs(torch.nn.ModuleList([conv]))
    assert type(model[0]) is TokenConv and not model[0].training
    torch.testing.assert_close(model[0](x, layout), want)


@pytest.mark.parametrize("kernel", [0, 2, -1])
def test_an_even_kernel_has_no_middle(kernel):
    with pytest.raises(ValueError, match=f"must be odd, got {kernel}"):
        TokenConv(3, 4, kernel)
