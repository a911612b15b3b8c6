"""Adversarial losses: the formulas, their gradients' signs, and what they ignore."""

import numpy as np
import pytest
import torch

from imlspike.losses import feature_matching, hinge_discriminator, hinge_generator


def scores(*sizes):
    return [(2 * torch.randn(2, size, dtype=torch.float64)).requires_grad_() for size in sizes]


def test_hinge_formulas():
    real, fake = scores(5, 30), scores(5, 30)
    r, f = ([each.detach().numpy() for each in side] for side in (real, fake))
    want = [np.maximum(0, 1 - r[n]).mean() + np.maximum(0, 1 + f[n]).mean() for n in (0, 1)]
    assert float(hinge_discriminator(real, fake).detach()) == pytest.approx(np.mean(want))
    want = [np.maximum(0, 1 - f[n]).mean() for n in (0, 1)]
    assert float(hinge_generator(fake).detach()) == pytest.approx(np.mean(want))


def test_the_weight_does_not_depend_on_the_number_of_discriminators():
    real, fake = scores(5), scores(7)
    torch.testing.assert_close(hinge_discriminator(real * 3, fake * 3), hinge_discriminator(real, fake))
    torch.testing.assert_close(hinge_generator(fake * 3), hinge_generator(fake))
    maps = scores(5)
    torch.testing.assert_close(feature_matching([real] * 3, [maps] * 3), feature_matching([real], [maps]))


def test_feature_matching_sums_maps_and_averages_discriminators():
    real, fake = [scores(5, 8), scores(3)], [scores(5, 8), scores(3)]
    want = sum(
        np.abs(r.detach().numpy() - f.detach().numpy()).mean()
        for of_real, of_fake in zip(real, fake, strict=True)
        for r, f in zip(of_real, of_fake, strict=True)
    )
    loss = feature_matching(real, fake)
    assert float(loss.detach()) == pytest.approx(want / 2)
    loss.backward()
    assert all(each.grad.any() for maps in fake for each in maps)
    assert all(each.grad is None for maps in real for each in maps)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (hinge_discriminator, (scores(5), scores(5, 5))),
        (hinge_discriminator, ([], [])),
        (hinge_generator, ([],)),
        (feature_matching, ([scores(5)], [scores(5), scores(5)])),
        (feature_matching, ([scores(5)], [scores(5, 5)])),
        (feature_matching, ([scores(5)], [scores(1)])),
    ],
)
def test_lists_that_do_not_match_are_refused(function, arguments):
    with pytest.raises(ValueError, match="discriminators|length"):
        function(*arguments)
