"""Adversarial losses as in Vocos: hinge, and feature matching.

Each takes what discriminators return, a list with an entry for each sub-discriminator, and is a mean over the
sub-discriminators, so that its weight does not depend on how many there are.
"""

from collections.abc import Sequence

from torch import Tensor


def hinge_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Hinge loss of discriminators: mean of max(0, 1 - score) if real, of max(0, 1 + score) if generated.

    Args:
        real: scores of any shape, one tensor for each sub-discriminator; floating point.
        fake: likewise, of generated audio (detached from the generator by the caller, whom that spares its
            backward pass).

    Returns:
        a scalar; 0 when all are told apart by a margin of 1, 2 for scores of 0.

    Raises:
        ValueError: lists of different lengths, or empty ones.

    >>> import torch
    >>> float(hinge_discriminator([torch.tensor([2.0, 0.0])], [torch.tensor([-1.0, 0.5])]))
    1.25
    """
    _check(real, fake)
    terms = [(1 - r).relu().mean() + (1 + f).relu().mean() for r, f in zip(real, fake, strict=True)]
    return sum(terms) / len(terms)


def hinge_generator(fake: Sequence[Tensor]) -> Tensor:
    """Hinge loss of the generator: mean of max(0, 1 - score) of generated audio.

    Args:
        fake: scores of any shape, one tensor for each sub-discriminator; floating point.

    Returns:
        a scalar.

    Raises:
        ValueError: an empty list.

    >>> import torch
    >>> float(hinge_generator([torch.tensor([2.0, 0.0]), torch.tensor([0.5])]))
    0.5
    """
    _check(fake, fake)
    return sum((1 - scores).relu().mean() for scores in fake) / len(fake)


def feature_matching(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean absolute difference of feature maps, summed over the maps of a sub-discriminator (as in Vocos).

    Args:
        real: for each sub-discriminator, its feature maps of real audio. No gradient goes back to them:
            compute them under `torch.no_grad()`.
        fake: the same of generated audio.

    Returns:
        a scalar.

    Raises:
        ValueError: lists of different lengths, empty ones, or maps of different shapes (their audio differs
            in length).

    >>> import torch
    >>> real, fake = [[torch.zeros(3), torch.zeros(2)]], [[torch.ones(3), torch.tensor([0.0, 1.0])]]
    >>> float(feature_matching(real, fake))
    1.5
    """
    _check(real, fake)
    total = 0.0
    for of_real, of_fake in zip(real, fake, strict=True):
        _check(of_real, of_fake)
        for r, f in zip(of_real, of_fake, strict=True):
            if r.shape != f.shape:
                raise ValueError(
                    f"feature maps of shapes {tuple(r.shape)} and {tuple(f.shape)}: cut the "
                    "real and the generated audio to the same length"
                )
            total = total + (f - r.detach()).abs().mean()
    return total / len(real)


def _check(real: Sequence, fake: Sequence) -> None:
    if not len(real) == len(fake) > 0:
        raise ValueError(
            f"{len(real)} entries of real and {len(fake)} of generated audio; expected the same number, at "
            "least one: use the same discriminators for both"
        )
