"""Cutting recordings at pauses: nothing lost, blocks of any size, pauses found, flat memory."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.data.segment import cut_at_pauses

RATE = 1000  # Hz: enough for levels, and a minute is cheap


def speech(seconds: float, seed: int = 0, loudness: float = 0.1) -> np.ndarray:
    """Noise that swells and fades like syllables, never for long silent."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    swell = 1.2 + np.sin(2 * np.pi * 4 * np.arange(n) / RATE)
    return (loudness * swell * rng.normal(size=n)).astype(np.float32)


def silence(seconds: float, noise: float = 0.001, seed: int = 9) -> np.ndarray:
    """Room noise."""
    return np.random.default_rng(seed).normal(scale=noise, size=round(seconds * RATE)).astype(np.float32)


def pieces(recording, sizes=None, max_seconds=5.0):
    """`cut_at_pauses` of a recording that is given in blocks of these sizes, over and over."""

    def blocks():
        place, turn = 0, 0
        while place < len(recording):
            size = sizes[turn % len(sizes)] if sizes else len(recording)
            yield recording[place : place + size]
            place, turn = place + size, turn + 1

    return list(cut_at_pauses(blocks(), RATE, max_seconds))


def recordings():
    """Speech and silence in turns, of random lengths, cut off anywhere."""
    lengths = st.lists(st.tuples(st.floats(0.05, 6), st.floats(0, 3)), max_size=8)

    def joined(turns):
        parts = [
            part for i, (said, paused) in enumerate(turns) for part in (speech(said, i), silence(paused))
        ]
        return np.concatenate([np.zeros(0, dtype=np.float32), *parts])

    return lengths.map(joined)


@settings(max_examples=40)
@given(recordings(), st.lists(st.integers(1, 9000), min_size=1, max_size=4))
def test_nothing_is_lost_and_blocks_leave_no_trace(recording, sizes):
    whole, in_blocks = pieces(recording), pieces(recording, sizes)
    assert [piece.start for piece in in_blocks] == [piece.start for piece in whole]
    for piece, same in zip(in_blocks, whole, strict=True):
        np.testing.assert_array_equal(piece.samples, same.samples)
    joined = np.concatenate([np.zeros(0), *(piece.samples for piece in whole)])
    np.testing.assert_array_equal(joined, recording)
    assert all(one.start + len(one.samples) == next_one.start for one, next_one in pairwise(whole))
    assert all(piece.samples.base is None for piece in whole)  # who keeps a piece keeps nothing else
    assert all(len(piece.samples) <= 5 * RATE for piece in whole)
    assert len(whole) <= 1 or all(len(piece.samples) >= RATE for piece in whole)
    assert len(whole) == 1 or len(recording) > 5 * RATE or len(recording) == 0


@pytest.mark.parametrize("noise", [0.0, 0.0005, 0.01], ids=["digital silence", "quiet room", "noisy room"])
@pytest.mark.parametrize("loudness", [0.01, 0.3])
def test_cuts_lie_in_pauses(noise, loudness):
    """However loud the speaker or the room, as long as the one is louder than the other."""
    said = [3.1, 2.7, 4.0, 1.5, 2.2, 3.3]
    paused = 0.6
    parts = [
        part
        for i, seconds in enumerate(said)
        for part in (speech(seconds, i, loudness), silence(paused, noise * loudness / 0.1))
    ]
    recording = np.concatenate(parts[:-1])
    ends = np.cumsum([round(seconds * RATE) + round(paused * RATE) for seconds in said])
    cuts = [piece.start for piece in pieces(recording)][1:]
    assert cuts
    for cut in cuts:
        assert min(abs(cut - (end - paused * RATE / 2)) for end in ends) <= 0.05 * RATE


def test_the_longest_pause_is_taken():
    recording = np.concatenate(
        [speech(1.5), silence(0.4), speech(1), silence(0.8), speech(1), silence(0.4), speech(1.5)]
    )
    assert [piece.start / RATE for piece in pieces(recording)][1] == pytest.approx(3.3, abs=0.05)


def test_without_a_pause_the_quietest_place_is_taken():
    recording = speech(8)
    dip = slice(round(3.4 * RATE), round(3.55 * RATE))  # too short for a pause
    recording[dip] *= 0.05
    assert 3.44 <= pieces(recording)[1].start / RATE <= 3.51  # the middle of its quietest tenth of a second


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_constant_is_cut_too(value):
    recording = np.full(12 * RATE, value, dtype=np.float32)
    assert [len(piece.samples) for piece in pieces(recording)] == [3000, 3000, 3000, 3000]


def test_what_is_short_stays_whole():
    recording = np.concatenate([speech(2), silence(1), speech(2)])
    (piece,) = pieces(recording)
    assert piece.start == 0 and len(piece.samples) == 5 * RATE
    assert pieces(np.zeros(0, dtype=np.float32)) == []


def test_memory_does_not_grow_with_the_recording():
    """What is held at any time, and the peak of all memory, are bounded however long it is."""
    limit, block = 5.0, 800

    def listen(minutes: int) -> tuple[int, int]:
        taken = given_back = held = 0

        def blocks():
            nonlocal taken, held
            for number in range(minutes * 60 * RATE // block):
                taken += block
                held = max(held, taken - given_back)
                yield speech(0.8, number % 7) if number % 3 else silence(0.8)

        tracemalloc.start()
        try:
            for piece in cut_at_pauses(blocks(), RATE, limit):
                given_back = piece.start + len(piece.samples)
            assert given_back == taken
            return held, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    (_, memory), (held, memory_long) = listen(1), listen(10)
    assert held <= 1.2 * limit * RATE + block
    assert memory_long <= 1.1 * memory


@pytest.mark.parametrize(("rate", "seconds"), [(16000, 0.5), (100, 5)])
def test_senseless_limits_are_refused(rate, seconds):
    with pytest.raises(ValueError, match="max_seconds|sampling_rate"):
        next(cut_at_pauses([np.zeros(10)], rate, seconds))
