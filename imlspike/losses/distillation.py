"""Self-architectural distillation: a spiking vocoder learns from its ANN twin (Spiking Vocos, eqs 5-12)."""

from typing import Any

import torch
from torch import Tensor, nn

from imlspike.losses.phase import magnitude_loss, phase_parts


class FeatureAdapter(nn.Module):
    """F of equation 5: from a spiking block's feature to the ANN block's.

    The paper has "a linear layer and an activation function" and says no more; the rest is this project's:
    the T time steps are fused by a learned weighted sum that starts as their mean; the linear layer starts as
    the identity, as both networks have the same build; the activation is a PReLU with a slope for each
    channel that starts at 1, because the teacher's features take either sign (an activation such as GELU,
    which cuts negative values off, could never reach them).

    Args:
        student_dim: channels of the student's feature.
        teacher_dim: channels of the teacher's.
        steps: T of the student's feature (1 for an IMLS network).

    Forward:
        x: (T, B, L, student_dim), floating point.

    Returns:
        (B, L, teacher_dim)

    >>> adapter = FeatureAdapter(student_dim=8, teacher_dim=8, steps=4)
    >>> x = torch.randn(4, 2, 10, 8)
    >>> torch.allclose(adapter(x), x.mean(0), atol=1e-6)           # before training
    True
    """

    def __init__(self, student_dim: int, teacher_dim: int, steps: int) -> None:
        super().__init__()
        self.fusion = nn.Parameter(torch.full((steps,), 1 / steps))
        self.linear = nn.Linear(student_dim, teacher_dim)
        self.slope = nn.Parameter(torch.ones(teacher_dim))
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(torch.tensordot(self.fusion, x, dims=1))
        return torch.where(y > 0, y, self.slope * y)


class DistillationLoss(nn.Module):
    r"""L_KD of equation 12: the blocks' features, the log magnitude and the phase of a teacher.

    .. math::
        L_{KD} = w_f \frac{1}{N} \sum_n \mathrm{mean}(F_n(z^{stu}_n) - z^{tea}_n)^2 + w_o (L_M + w_p L_P)

    Every term is a mean over elements, and over the N blocks, so that no weight depends on the size of the
    model or of the batch. The paper names no weights; the defaults are those of its published code.

    The adapters are parameters of this module: train them together with the student. They are not part of the
    vocoder and are not needed after training.

    Args:
        student_dim, teacher_dim: channels of the blocks' features.
        num_layers: N, blocks of the student and of the teacher.
        steps: T of the student's features (1 for an IMLS network).
        feature_weight: w_f. Terms of weight 0 are not computed.
        output_weight: w_o.
        phase_weight: w_p.

    Forward:
        student: what a vocoder's `generate` returns: `log_magnitude` (B, F, L), `phase` (B, F, L) in radians
            and `hidden`, N tensors (T, B, L, student_dim).
        teacher: likewise, with hidden (any T, B, L, teacher_dim), over which the mean is taken. No gradient
            goes back to it; run it under `torch.no_grad()`.

    Returns:
        the total, a scalar, and its parts before the weights, detached: "feature", "magnitude", "phase" and
        the phase's own "instantaneous_phase", "group_delay", "phase_time".

    Raises:
        ValueError: a number of blocks, steps, channels or frames other than expected.

    >>> from types import SimpleNamespace
    >>> def output(steps):
    ...     hidden = tuple(torch.randn(steps, 2, 6, 16) for _ in range(3))
    ...     spectra = torch.randn(2, 2, 9, 6)
    ...     return SimpleNamespace(log_magnitude=spectra[0], phase=spectra[1], hidden=hidden)
    >>> loss = DistillationLoss(student_dim=16, teacher_dim=16, num_layers=3, steps=4)
    >>> total, parts = loss(output(steps=4), output(steps=1))
    >>> whole = 40 * parts["feature"] + 10 * (parts["magnitude"] + 0.05 * parts["phase"])
    >>> torch.allclose(total, whole)
    True
    """

    def __init__(
        self,
        student_dim: int,
        teacher_dim: int,
        num_layers: int,
        steps: int,
        feature_weight: float = 40.0,
        output_weight: float = 10.0,
        phase_weight: float = 0.05,
    ) -> None:
        super().__init__()
        self.student_dim, self.teacher_dim, self.steps = student_dim, teacher_dim, steps
        self.feature_weight = feature_weight
        self.output_weight = output_weight
        self.phase_weight = phase_weight
        layers = num_layers if feature_weight else 0
        self.adapters = nn.ModuleList(FeatureAdapter(student_dim, teacher_dim, steps) for _ in range(layers))

    def forward(self, student: Any, teacher: Any) -> tuple[Tensor, dict[str, Tensor]]:
        total, parts = student.log_magnitude.new_zeros(()), {}
        if self.feature_weight:
            parts["feature"] = self._feature_loss(student.hidden, teacher.hidden)
            total = total + self.feature_weight * parts["feature"]
        if self.output_weight:
            parts["magnitude"] = magnitude_loss(student.log_magnitude, teacher.log_magnitude)
            total = total + self.output_weight * parts["magnitude"]
        if self.output_weight and self.phase_weight:
            phases = phase_parts(student.phase, teacher.phase)
            parts |= zip(("instantaneous_phase", "group_delay", "phase_time"), phases, strict=True)
            parts["phase"] = sum(phases)
            total = total + self.output_weight * self.phase_weight * parts["phase"]
        return total, {name: part.detach() for name, part in parts.items()}

    def _feature_loss(self, student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> Tensor:
        blocks = len(self.adapters)
        if not blocks == len(student) == len(teacher):
            raise ValueError(
                f"the loss has {blocks} adapters, the student {len(student)} blocks and the teacher "
                f"{len(teacher)}: all three must be the same number; set num_layers alike"
            )
        losses = []
        for block, (adapter, of_student, of_teacher) in enumerate(
            zip(self.adapters, student, teacher, strict=True)
        ):
            self._check(block, of_student, of_teacher)
            losses.append((adapter(of_student) - of_teacher.detach().mean(0)).square().mean())
        return torch.stack(losses).mean()

    def _check(self, block: int, student: Tensor, teacher: Tensor) -> None:
        want = (self.steps, *teacher.shape[1:3], self.student_dim)
        if student.shape != want or teacher.shape[3:] != (self.teacher_dim,):
            raise ValueError(
                f"block {block}: the student's feature has shape {tuple(student.shape)}, the teacher's "
                f"{tuple(teacher.shape)}; expected {want} and (T, B, L, {self.teacher_dim})"
            )
