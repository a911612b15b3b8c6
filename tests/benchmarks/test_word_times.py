"""Times and confidences of words against labels: what is measured is what was put in."""

import doctest

import numpy as np
import pytest

from benchmarks import word_times
from benchmarks.word_times import Heard, fit, reliability, time_rows
from imlspike.data.transcript import Word


def test_doctests():
    assert doctest.testmod(word_times).failed == 0


def test_shifts_and_exponent_are_found():
    """Spikes 50 ms late and 30 ms early, and words right as often as the square of their confidence."""
    random = np.random.default_rng(0)
    said, moved = random.uniform(size=4000), random.normal(0, 0.02, (4000, 2))
    words = [
        Heard(Word("a", n + 0.05 + a, n + 0.97 + b, p), random.uniform() < p**2, float(n), n + 1.0)
        for n, (p, (a, b)) in enumerate(zip(said, moved, strict=True))
    ]
    found = fit(words)
    assert (found.start, found.end) == pytest.approx((-0.05, 0.03), abs=0.003)
    assert found.confidence == pytest.approx(2, rel=0.1)
    assert reliability(words, found.confidence)[1] < 0.03 < reliability(words)[1]
    start = time_rows("x", words)[0]
    assert start["late by ms"] == pytest.approx(50, abs=3) and start["90 % ms"] > start["median ms"]
