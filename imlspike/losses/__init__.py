"""Losses: distillation, mel reconstruction, adversarial, alignment. They never import models."""

from imlspike.losses.alignment import (
    average_by_duration,
    beta_binomial_prior,
    binarisation_loss,
    forward_sum_loss,
    monotonic_alignment,
    token_of_frame,
)
from imlspike.losses.distillation import DistillationLoss, FeatureAdapter
from imlspike.losses.gan import feature_matching, hinge_discriminator, hinge_generator
from imlspike.losses.mel import MelLoss
from imlspike.losses.phase import anti_wrap, magnitude_loss, phase_loss, phase_parts
from imlspike.losses.spikevoice import SpikeVoiceLoss, learned_durations

__all__ = [
    "DistillationLoss",
    "FeatureAdapter",
    "MelLoss",
    "SpikeVoiceLoss",
    "anti_wrap",
    "average_by_duration",
    "beta_binomial_prior",
    "binarisation_loss",
    "feature_matching",
    "forward_sum_loss",
    "hinge_discriminator",
    "hinge_generator",
    "learned_durations",
    "magnitude_loss",
    "monotonic_alignment",
    "phase_loss",
    "phase_parts",
    "token_of_frame",
]
