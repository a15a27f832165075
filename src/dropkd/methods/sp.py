"""Similarity-preserving distillation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.checks import check_batch
from dropkd.functional.relations import sp_loss
from dropkd.methods.method import Method
from dropkd.methods.stages import Stages, pair_stages

__all__ = ["SP"]


class SP(Method):
    r"""The student learns which images of a batch are alike for the teacher.

    Equation:
        G = \mathrm{vec}(F)\, \mathrm{vec}(F)^\top \in \mathbb{R}^{B \times B}, \quad
            \tilde{G}_{i:} = \frac{G_{i:}}{\lVert G_{i:} \rVert_2}
        L = \sum_l \frac{1}{B^2} \lVert \tilde{G}^t_l - \tilde{G}^s_l \rVert_F^2

        The rows of vec(F) are the maps of the B images at stage l, of the student (s) and the teacher (t).

    Terms:
        similarity: squared distance of the two networks' similarities, summed over stages; weight 3000, that of the
            CIFAR-100 benchmarks, beside a cross-entropy of weight 1.

    Trains:
        nothing of its own: 0 parameters for cifar_resnet56 -> cifar_resnet20.

    Args:
        pair: the shapes of student and teacher.
        stages: pairs of maps that are compared: deepest, all (paired from the deep end), or how many from the
            deep end.

    Note:
        The benchmarks compare the last map only. Each row of similarities has length 1 by the root of its squares;
        one public library divides by the sum of absolute values, which is another loss. A single image is like
        itself in every network, so that a batch needs two.

    References:
        Tung, Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "sp")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'similarity']
    """

    student_reads = frozenset({"maps"})
    teacher_reads = frozenset({"maps"})
    terms: ClassVar[Mapping[str, float]] = {"similarity": 3000.0}
    least_batch = 2

    def __init__(self, pair: Pair, *, stages: Stages = "deepest") -> None:
        super().__init__(pair)
        self.stages = pair_stages(pair, stages)

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``similarity`` where it is active."""
        teacher = self.require_teacher(teacher)
        if "similarity" not in self.active:
            return {}
        check_batch(student.maps[-1], self.least_batch, "SP, which compares images with each other,")
        values = [sp_loss(student.maps[-stage.number], teacher.maps[-stage.number]) for stage in self.stages]
        return {"similarity": torch.stack(values).sum()}
