"""Windows: what is cut apart for local computation joins to the whole."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imlspike.inference.common import as_float, windows

sizes = st.lists(st.integers(0, 9), min_size=1, max_size=12)


@given(sizes=sizes, chunk=st.integers(1, 12), context=st.integers(1, 7))
def test_chunks_join_to_the_whole_and_see_their_neighbours(sizes, chunk, context):
    whole = torch.arange(sum(sizes))
    found = list(windows(whole.split(sizes), chunk, context))
    assert torch.cat([window[first:last] for window, first, last in found] or [whole]).equal(whole)
    for number, (window, first, last) in enumerate(found):
        assert (last is None) == (number == len(found) - 1)
        begin = int(window[0])
        assert window.equal(whole[begin : begin + len(window)])
        assert first == min(context, begin + first)
        if last is None:
            assert begin + len(window) == len(whole) and len(window) - first <= chunk + context
        else:
            assert last - first == chunk and len(window) == last + context


@given(sizes=sizes)
def test_without_a_chunk_all_is_one_window(sizes):
    whole = torch.arange(sum(sizes))
    found = list(windows(whole.split(sizes), None, 3))
    assert len(found) == (1 if len(whole) else 0)
    assert all(window.equal(whole) and (first, last) == (0, None) for window, first, last in found)


def test_a_chunk_comes_as_soon_as_its_context_is_there():
    """No later: who streams is waiting for it."""
    read = 0

    def blocks():
        nonlocal read
        for _ in range(100):
            read += 1
            yield torch.zeros(1)

    for number, (window, _, _) in enumerate(windows(blocks(), chunk=4, context=3)):
        assert read == min(100, 4 * (number + 1) + 3) and len(window) <= 4 + 2 * 3
    assert number > 20


def test_waveforms_of_any_type():
    for kind in (np.int8, np.int16, np.int32):
        low = np.iinfo(kind).min
        np.testing.assert_array_equal(as_float(np.array([low, 0, -(low // 2)], kind), "it"), [-1, 0, 0.5])
    assert as_float(torch.zeros(2, dtype=torch.float64, requires_grad=True), "it").dtype == np.float32
    for kind in (torch.float16, torch.bfloat16):
        made = as_float(torch.tensor([0.5, -1], dtype=kind), "it")
        assert made.dtype == np.float32 and made.tolist() == [0.5, -1]
    for kind in (bool, np.uint8, np.int64, complex, object, "U1"):
        with pytest.raises(ValueError, match=f"it is of type {np.dtype(kind)}"):
            as_float(np.zeros(3, dtype=kind), "it")
    with pytest.raises(ValueError, match="int64"):
        as_float(torch.zeros(3, dtype=torch.long), "it")
