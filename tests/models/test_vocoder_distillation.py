"""Distillation through whole vocoders: the phase's gradient arrives, and agrees with finite differences."""

import pytest
import torch

from imlspike.losses import DistillationLoss, phase_loss
from imlspike.models.spiking_vocos import SpikingVocos

SIZES = {
    "sampling_rate": 16000,
    "n_fft": 64,
    "hop_length": 16,
    "n_mels": 10,
    "dim": 8,
    "intermediate_dim": 16,
}
STUDENTS = [
    {"neuron": "plif"},
    {"neuron": "plif", "temporal_shift": "fixed"},
    {"neuron": "lif", "steps": 8},
    {"neuron": "imls"},
    {"neuron": "none"},
]


def vocoder(**options):
    """A small vocoder in float64 whose weights are large enough to make it fire."""
    model = SpikingVocos(**SIZES, num_layers=2, layer_scale=1.0, **options).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(40)
    return model


def slope(loss, parameter, direction, step=1e-6):
    """Central difference of `loss()` along a direction of a parameter."""
    values = []
    with torch.no_grad():
        for sign in (1, -2, 1):
            parameter.add_(direction, alpha=sign * step)
            values.append(float(loss()))
    return (values[0] - values[1]) / (2 * step)


@pytest.mark.parametrize("options", STUDENTS, ids=lambda options: "-".join(map(str, options.values())))
def test_the_phase_reaches_every_weight_of_the_student(options):
    student, teacher = vocoder(**options), vocoder(neuron="none")
    mel = torch.randn(2, 10, 8, dtype=torch.float64)
    with torch.no_grad():
        wanted = teacher.generate(mel)
    phase_loss(student.generate(mel).phase, wanted.phase).backward()
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("neuron", ["none", "plif"])
def test_the_gradient_through_the_vocoder_agrees_with_finite_differences(neuron):
    """All weights of an ANN; behind the last spike of a spiking one (before it, gradients are surrogates)."""
    student, teacher = vocoder(neuron=neuron), vocoder(neuron="none")
    distillation = DistillationLoss(8, 8, num_layers=2, steps=4 if neuron == "plif" else 1).double()
    mel = torch.randn(2, 10, 8, dtype=torch.float64)
    with torch.no_grad():
        wanted = teacher.generate(mel)

    def of_phase():
        return phase_loss(student.generate(mel).phase, wanted.phase)

    def of_all():
        return distillation(student.generate(mel), wanted)[0]

    part = student if neuron == "none" else student.head
    for loss in (of_phase, of_all):
        parameters = [each for each in part.parameters() if each.dim() > 1]
        assert parameters
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss(), parameters), strict=True):
            direction = torch.randn_like(parameter)
            assert gradient.any()
            got = slope(loss, parameter, direction)
            assert float((gradient * direction).sum()) == pytest.approx(got, rel=1e-3, abs=1e-5)
