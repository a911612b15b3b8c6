"""Convolution over tokens: torch's own, its gradients, and its norm."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from imlspike.layers import Layout, spike_products_supported
from imlspike.layers.token_conv import NormedConv, TokenConv, _from_windows, fold_normed_convs, windows


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


def test_windows_and_their_way_back_are_transposed_maps():
    """<windows(x), g> = <x, from_windows(g)>, also of sequences shorter than the kernel."""
    for tokens, kernel in ((7, 5), (2, 5), (1, 9), (4, 1)):
        x = torch.randn(2, 3, tokens, 4, dtype=torch.float64)
        grad = torch.randn(2, 3, tokens, 4 * kernel, dtype=torch.float64)
        back = _from_windows(grad, kernel)
        assert back.shape == x.shape
        torch.testing.assert_close((windows(x, kernel) * grad).sum(), (x * back).sum())


@pytest.mark.skipif(not spike_products_supported(), reason="this CPU has no AMX")
@pytest.mark.parametrize(("kernel", "levels"), [(1, 1), (5, 1), (5, 4), (1, 127)])
def test_products_of_spikes_are_the_convolution(kernel, levels):
    """Values and gradients to the rounding that `SpikeLinear` tells of."""
    torch.manual_seed(0)
    conv, exact = TokenConv(48, 32, kernel, levels=levels), TokenConv(48, 32, kernel).double()
    exact.load_state_dict(conv.state_dict())
    spikes = (torch.rand(4, 2, 20, 48) < 0.2) * torch.randint(1, levels + 1, (4, 2, 20, 48)).float()
    grad = torch.randn(4, 2, 20, 32)
    results = []
    for model, dtype in ((conv, torch.float32), (exact, torch.float64)):
        x = spikes.to(dtype).requires_grad_()
        y = model(x)
        results.append([y, *torch.autograd.grad(y, [x, *model.parameters()], grad.to(dtype))])
    for got, wanted in zip(*results, strict=True):
        assert got.dtype == torch.float32 and got.shape == wanted.shape
        assert 0 < (got - wanted).norm() < 2e-4 * wanted.norm()


@pytest.mark.parametrize("levels", [1, 4])
@pytest.mark.parametrize("shape", [(1, 1, 51), (2, 1, 51), (1, 3, 40)])
def test_whole_numbers_of_one_sequence_or_several_are_convolved_as_any_numbers(levels, shape):
    """Of one sequence at one step the windows are a view that lies over itself."""
    torch.manual_seed(0)
    conv, counts = TokenConv(16, 24, 3, levels=levels), torch.randint(0, levels + 1, (*shape, 16)).float()
    plain = functional.conv1d(counts.flatten(0, 1).transpose(1, 2), conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(counts).flatten(0, 1), plain.transpose(1, 2), atol=1e-3, rtol=1e-3)
