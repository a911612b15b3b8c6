"""Layout: pack and unpack are inverse, and padding never gets through."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from imlspike.layers import Layout


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    padding=st.integers(0, 3),
    tail=st.sampled_from([(4,), (), (2, 3)]),
)
def test_pack_and_unpack_are_inverse(lengths, padding, tail):
    tokens = max(max(lengths), 1) + padding
    full = min(lengths) == tokens
    layout = Layout(torch.tensor(lengths), tokens)
    x = torch.randn(len(lengths), tokens, *tail)
    packed = layout.pack(x)
    assert torch.equal(packed, torch.cat([x[b, :n] for b, n in enumerate(lengths)]))
    back = layout.unpack(packed)
    assert torch.equal(layout.pack(back), packed) and back.shape == x.shape
    mask = torch.arange(tokens) < torch.tensor(lengths)[:, None]
    assert layout.mask is None if full else torch.equal(layout.mask, mask)
    assert torch.equal(back[mask], packed) and not back[~mask].any()
    steps = torch.stack((x, -x))
    assert torch.equal(layout.pack(steps, 1), torch.stack((packed, -packed)))
    assert torch.equal(layout.unpack(layout.pack(steps, 1), 1), torch.stack((back, -back)))


class ReadsData(TorchDispatchMode):
    """Fails where a program asks for a number out of a tensor, which on a GPU waits for it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


def test_without_lengths_nothing_depends_on_data():
    x = torch.randn(2, 4, 3)
    with ReadsData():
        layout = Layout(None, 4, 2)
        assert layout.mask is None and layout.lengths is None
        packed = layout.pack(x)
        back = layout.unpack(packed)
    assert torch.equal(packed, x.flatten(0, 1)) and torch.equal(back, x)


def test_gradients_pass_and_stop_at_padding():
    layout = Layout(torch.tensor([3, 1]), 4)
    x = torch.randn(2, 4, 2, requires_grad=True)
    layout.unpack(layout.pack(x) * 2).sum().backward()
    assert torch.equal(x.grad, 2.0 * layout.mask[..., None].expand(2, 4, 2))
