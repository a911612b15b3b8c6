"""Losses: distillation from a teacher, mel reconstruction, adversarial. They never import models."""

from imlspike.losses.distillation import DistillationLoss, FeatureAdapter
from imlspike.losses.gan import feature_matching, hinge_discriminator, hinge_generator
from imlspike.losses.mel import MelLoss
from imlspike.losses.phase import anti_wrap, magnitude_loss, phase_loss, phase_parts

__all__ = [
    "DistillationLoss",
    "FeatureAdapter",
    "MelLoss",
    "anti_wrap",
    "feature_matching",
    "hinge_discriminator",
    "hinge_generator",
    "magnitude_loss",
    "phase_loss",
    "phase_parts",
]
