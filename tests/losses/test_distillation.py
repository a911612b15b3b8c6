"""The distillation loss: equations 5 to 12, each weight, every block, gradients to all that is trained."""

from types import SimpleNamespace

import pytest
import torch

from imlspike.losses import DistillationLoss, FeatureAdapter, magnitude_loss, phase_parts


def output(steps, dim=6, layers=3, frames=5, batch=2, grad=False):
    """What a vocoder's `generate` returns, in float64."""

    def tensor(*shape):
        return torch.randn(shape, dtype=torch.float64).requires_grad_(grad)

    return SimpleNamespace(
        log_magnitude=tensor(batch, 9, frames),
        phase=tensor(batch, 9, frames),
        hidden=tuple(tensor(steps, batch, frames, dim) for _ in range(layers)),
    )


def loss_of(**changed):
    options = {"student_dim": 6, "teacher_dim": 8, "num_layers": 3, "steps": 4} | changed
    loss = DistillationLoss(**options).double()
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return loss


def test_the_total_is_equation_12():
    loss, student, teacher = loss_of(), output(4), output(1, dim=8)
    total, parts = loss(student, teacher)
    feature = 0.0
    for adapter, z_student, z_teacher in zip(loss.adapters, student.hidden, teacher.hidden, strict=True):
        fused = sum(adapter.fusion[t] * z_student[t] for t in range(4))
        projected = fused @ adapter.linear.weight.T + adapter.linear.bias
        projected = torch.nn.functional.prelu(projected.flatten(0, 1), adapter.slope).unflatten(0, (2, 5))
        feature = feature + (projected - z_teacher[0]).pow(2).mean() / 3
    phases = phase_parts(student.phase, teacher.phase)
    magnitude = magnitude_loss(student.log_magnitude, teacher.log_magnitude)
    want = {
        "feature": feature,
        "magnitude": magnitude,
        "phase": sum(phases),
        "instantaneous_phase": phases[0],
        "group_delay": phases[1],
        "phase_time": phases[2],
    }
    assert parts.keys() == want.keys() and not any(part.requires_grad for part in parts.values())
    for name, value in want.items():
        torch.testing.assert_close(parts[name], value.detach(), msg=name)
    torch.testing.assert_close(total, 40 * feature + 10 * magnitude + 0.5 * sum(phases))


def test_the_weights():
    student, teacher = output(4), output(1, dim=8)
    loss = loss_of(feature_weight=3, output_weight=5, phase_weight=0.7)
    total, parts = loss(student, teacher)
    torch.testing.assert_close(
        total.detach(), 3 * parts["feature"] + 5 * (parts["magnitude"] + 0.7 * parts["phase"])
    )


@pytest.mark.parametrize(
    ("weights", "left"),
    [
        ({"feature_weight": 0}, {"magnitude", "phase"}),
        ({"output_weight": 0}, {"feature"}),
        ({"phase_weight": 0}, {"feature", "magnitude"}),
        ({"feature_weight": 0, "output_weight": 0}, set()),
    ],
)
def test_a_term_of_weight_0_is_not_computed(weights, left):
    loss = loss_of(**weights)
    total, parts = loss(output(4), output(1, dim=8))
    assert parts.keys() & {"feature", "magnitude", "phase"} == left
    assert total.shape == () and bool(total > 0) == bool(left)
    assert bool(list(loss.parameters())) == ("feature" in left)  # none without a gradient: DDP would stop


def test_gradients_reach_every_block_and_adapter_and_agree_with_finite_differences():
    loss, student, teacher = loss_of(), output(4, grad=True), output(1, dim=8, grad=True)
    loss(student, teacher)[0].backward()
    inputs = [student.log_magnitude, student.phase, *student.hidden, *loss.parameters()]
    directions = [torch.randn_like(tensor) for tensor in inputs]
    for tensor, direction in zip(inputs, directions, strict=True):
        assert tensor.grad is not None and tensor.grad.any()
        totals = []
        for step in (1e-6, -2e-6, 1e-6):
            tensor.data.add_(direction, alpha=step)
            totals.append(float(loss(student, teacher)[0].detach()))
        slope = (totals[0] - totals[1]) / 2e-6
        assert float((tensor.grad * direction).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-6)
    for tensor in (teacher.log_magnitude, teacher.phase, *teacher.hidden):
        assert tensor.grad is None


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_a_fresh_adapter_is_the_mean_over_time(steps):
    x = torch.randn(steps, 2, 5, 6)
    torch.testing.assert_close(FeatureAdapter(6, 6, steps)(x), x.mean(0))


def test_the_teachers_feature_is_its_mean_over_time():
    loss, student, teacher = loss_of(), output(4), output(3, dim=8)
    mean = SimpleNamespace(
        **vars(teacher) | {"hidden": tuple(z.mean(0, keepdim=True) for z in teacher.hidden)}
    )
    torch.testing.assert_close(loss(student, teacher)[0], loss(student, mean)[0])


@pytest.mark.parametrize(
    ("student", "teacher", "says"),
    [
        (output(4, layers=2), output(1, dim=8), "num_layers"),
        (output(4), output(1, dim=8, layers=2), "num_layers"),
        (output(8), output(1, dim=8), "block 0"),
        (output(4, dim=8), output(1, dim=8), "block 0"),
        (output(4), output(1, dim=6), "block 0"),
        (output(4, frames=6), output(1, dim=8), "block 0"),
    ],
)
def test_networks_that_do_not_match_are_refused(student, teacher, says):
    with pytest.raises(ValueError, match=says):
        loss_of()(student, teacher)
