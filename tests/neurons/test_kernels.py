"""The compiled loops against the definition of the neuron, `lif_step`, and its autograd."""

import hashlib
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.neurons import kernels, library
from imlspike.neurons.functional import LIFParameters, lif_step
from imlspike.neurons.surrogate import SURROGATES, Surrogate

pytestmark = pytest.mark.skipif(library.library() is None, reason="the loops weren't compiled")

neurons = st.builds(
    LIFParameters,
    leak=st.sampled_from([0.0, 0.2, 0.49, 0.5, 0.7, 1.0]),
    threshold=st.sampled_from([0.5, 1.0]),
    v_reset=st.sampled_from([None, 0.0, -0.25]),
    decay_input=st.booleans(),
    detach_reset=st.booleans(),
    surrogate=st.sampled_from(SURROGATES).map(Surrogate),
)


def by_definition(x, u, p):
    """Spikes (T, N) and the last potential above rest, step by step."""
    spikes, v = [], u + p.rest
    for current in x:
        s, v = lif_step(current, v, p)
        spikes.append(s)
    return torch.stack(spikes), v - p.rest


@settings(deadline=None, max_examples=60)
@given(neurons, st.integers(1, 6), st.sampled_from([1, 15, 513, 1100]), st.booleans(), st.integers(0, 99))
def test_spikes_and_gradients_are_those_of_the_definition(p, steps, size, constant, seed):
    """Also of a current that is one row seen T times, and in pieces that fill no block."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1 if constant else steps, size, generator=generator).mul(2).expand(steps, -1)
    u, last = torch.rand(2, size, generator=generator)
    grad = torch.randn(steps, size, generator=generator)
    if p.v_reset:
        u = torch.zeros(size)  # rest is then no round number: u + rest - rest is u itself only from rest
    leaves = [x.detach().double().requires_grad_(), u.double().requires_grad_()]
    leaves.append(torch.tensor(p.leak, dtype=torch.float64, requires_grad=True))
    wanted = by_definition(x, u, p)
    spikes, after = kernels.integrate(x, u, p.leak, p)
    as_bytes = torch.empty(x.shape, dtype=torch.int8)
    assert torch.equal(kernels.integrate(x, u, p.leak, p, as_bytes)[0].float(), spikes)
    if not p.v_reset:
        assert torch.equal(spikes, wanted[0])
        assert torch.equal(after, wanted[1])
    exact = by_definition(leaves[0], leaves[1], p._replace(leak=leaves[2]))
    if not torch.equal(exact[0].float(), spikes):
        return  # a potential at the threshold itself, rounded to the other side of it in fp32
    torch.autograd.backward(exact, [grad.double(), last.double()])
    got = grad.clone()
    grad_u, slope = kernels.back(x, u, got, last, p.leak, p)
    for mine, leaf in zip((got, grad_u), leaves, strict=False):
        assert torch.allclose(mine.double(), leaf.grad, rtol=1e-4, atol=1e-5 * leaf.grad.abs().max().item())
    scale = sum(leaf.grad.abs().sum().item() for leaf in leaves[:2])
    assert slope == pytest.approx(leaves[2].grad.item(), abs=1e-5 * scale + 1e-5)


def test_threads_share_the_work(monkeypatch):
    """The same numbers whatever the number of threads."""
    p, x, grad = LIFParameters(), *torch.randn(2, 4, 70001)
    results, before = [], torch.get_num_threads()
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        got = grad.clone()
        slope = kernels.back(x, None, got, None, 0.5, p)[1]
        results.append((*kernels.integrate(x, None, 0.5, p), got, kernels.round_rows(x, 32512)[0]))
        results[-1] += (torch.tensor(round(slope, 3)),)
    monkeypatch.undo()
    assert all(torch.equal(one, three) for one, three in zip(*results, strict=True))
    assert torch.get_num_threads() == before


def test_what_the_loops_do_not_take():
    x = torch.zeros(33, 4)
    assert not kernels.kernels_serve(x) and kernels.kernels_serve(x[:32])
    assert not kernels.kernels_serve(x[:2].double()) and not kernels.kernels_serve(x[:2].t())


def test_parts_in_other_threads_return_what_they_found_or_raise(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert library.share(1 << 20, lambda begin, end: end - begin) == [349525, 349525, 349526]

    def fails(begin, end):
        raise MemoryError(f"at {begin}")

    with pytest.raises(MemoryError, match=r"at \d"):
        library.share(1 << 20, fails)


def test_loops_of_other_sources_or_for_other_processors_are_not_used(monkeypatch):
    """Functions compiled from older sources may take other arguments; unknown instructions end a process."""
    with monkeypatch.context() as other:
        other.setattr(library.hashlib, "sha256", hashlib.md5)
        with pytest.warns(UserWarning, match="was built from other sources than are here.*pip install -e"):
            assert library.library.__wrapped__() is None
    if sys.platform == "linux":
        less = library._processor() - {"fma", "fpu"}
        monkeypatch.setattr(library, "_processor", lambda: less)
        with pytest.warns(UserWarning, match="for a processor that can more than this one .fma fpu"):
            assert library.library.__wrapped__() is None
