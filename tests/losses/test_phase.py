"""Phase and magnitude distances: the paper's formulas, and gradients that a straight-through round kills."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imlspike.losses import anti_wrap, magnitude_loss, phase_loss, phase_parts


def finite_difference(function, x, direction, step=1e-6):
    """Central difference of a scalar function along a direction."""
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


@given(st.floats(-100, 100), st.integers(-20, 20))
def test_the_distance_on_the_circle(x, turns):
    """Against the length of the shorter arc, computed with complex numbers."""
    arc = abs(np.angle(np.exp(1j * x)))
    shifted = torch.tensor(x + 2 * math.pi * turns, dtype=torch.float64)
    assert float(anti_wrap(shifted)) == pytest.approx(arc, abs=1e-9)


def test_the_gradient_is_the_sign_of_the_wrapped_difference():
    x = torch.linspace(-20, 20, 4001, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(anti_wrap(x).sum(), x)
    wrapped = torch.atan2(x.sin(), x.cos()).detach()
    smooth = (wrapped.abs() > 0.02) & (wrapped.abs() < math.pi - 0.02)
    assert smooth.sum() > 3900
    torch.testing.assert_close(gradient[smooth], wrapped.sign()[smooth], rtol=0, atol=0)
    slope = finite_difference(anti_wrap, x.detach(), torch.ones_like(x))
    torch.testing.assert_close(gradient[smooth], slope[smooth])


def spectra(frames=7, bins=9, batch=2):
    """Two phases, in float64, the first of which wants a gradient."""
    student = 6 * torch.randn(batch, bins, frames, dtype=torch.float64)
    return student.requires_grad_(), 6 * torch.randn(batch, bins, frames, dtype=torch.float64)


def test_the_parts_are_the_papers_formulas():
    """Element by element, in numpy."""
    student, teacher = spectra()
    s, t = student.detach().numpy(), teacher.numpy()

    def mean(terms):
        terms = np.array(terms)
        return np.mean(np.abs(terms - 2 * np.pi * np.round(terms / (2 * np.pi))))

    batch, bins, frames = s.shape
    instantaneous = [
        t[b, f, n] - s[b, f, n] for b in range(batch) for f in range(bins) for n in range(frames)
    ]
    delay = [
        (t[b, f + 1, n] - t[b, f, n]) - (s[b, f + 1, n] - s[b, f, n])
        for b in range(batch)
        for f in range(bins - 1)
        for n in range(frames)
    ]
    time = [
        (t[b, f, n + 1] - t[b, f, n]) - (s[b, f, n + 1] - s[b, f, n])
        for b in range(batch)
        for f in range(bins)
        for n in range(frames - 1)
    ]
    want = [mean(instantaneous), mean(delay), mean(time)]
    assert [float(part.detach()) for part in phase_parts(student, teacher)] == pytest.approx(want)
    assert float(phase_loss(student, teacher).detach()) == pytest.approx(sum(want))


@pytest.mark.parametrize("part", [0, 1, 2, None])
def test_the_gradient_of_each_part_agrees_with_finite_differences(part):
    def loss(x):
        return phase_loss(x, teacher) if part is None else phase_parts(x, teacher)[part]

    student, teacher = spectra()
    (gradient,) = torch.autograd.grad(loss(student), student)
    assert (gradient != 0).double().mean() > 0.4  # between two neighbours the pulls can cancel
    for _ in range(5):
        direction = torch.randn_like(student)
        slope = finite_difference(loss, student.detach(), direction)
        assert abs(float(slope)) > 1e-4
        torch.testing.assert_close((gradient * direction).sum(), slope)


def test_no_gradient_goes_to_the_teacher():
    student, teacher = spectra()
    teacher.requires_grad_()
    (phase_loss(student, teacher) + magnitude_loss(student, teacher)).backward()
    assert teacher.grad is None and student.grad.any()


def test_magnitudes():
    student, teacher = spectra()
    loss = magnitude_loss(student, teacher)
    want = np.abs(student.detach().numpy() - teacher.numpy()).mean()
    assert float(loss.detach()) == pytest.approx(want)
    (gradient,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(gradient, (student - teacher).sign() / student.numel())


@pytest.mark.parametrize(
    ("student", "teacher", "says"),
    [
        ((2, 9, 4), (2, 9, 5), "shapes"),
        ((2, 9, 1), (2, 9, 1), "segments"),
        ((2, 1, 9), (2, 1, 9), "segments"),
    ],
)
def test_what_can_not_be_compared_is_refused(student, teacher, says):
    with pytest.raises(ValueError, match=says):
        phase_loss(torch.zeros(student), torch.zeros(teacher))
