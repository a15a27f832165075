"""Distillation of the probabilities that images are neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from dropkd.contracts import Batch, Outputs
from dropkd.functional.checks import check_batch
from dropkd.functional.relations import pkt_loss
from dropkd.methods.method import Method

__all__ = ["PKT"]


class PKT(Method):
    r"""The student learns which images of a batch are neighbours for the teacher, as probabilities.

    Equation:
        P_{ij} = \frac{K_{ij}}{\sum_j K_{ij}}, \quad K_{ij} = \frac{1}{2} \left( \frac{\langle f_i, f_j \rangle}
            {\| f_i \| \| f_j \|} + 1 \right)
        L = \frac{1}{B^2} \sum_{i,j} P^t_{ij} \log \frac{P^t_{ij} + \epsilon}{P^s_{ij} + \epsilon},
            \quad \epsilon = 10^{-7}

        f is the embedding, of the student (s) and the teacher (t).

    Terms:
        similarity: divergence of the student's probabilities from the teacher's; weight 30000, that of the CIFAR-100
            benchmarks, beside a cross-entropy of weight 1.

    Trains:
        nothing of its own.

    Args:
        pair: the shapes of student and teacher.

    Note:
        As in the authors' code, the mean is over all B x B pairs and not over rows, so the term shrinks as batches
        grow; its weight belongs to batches of 64. One image would give 0 whatever the student answers, so two are the
        fewest. Of several processes each compares its own images.

    References:
        Passalis, Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "pkt")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'similarity']
    """

    student_reads = frozenset({"embedding"})
    teacher_reads = frozenset({"embedding"})
    terms: ClassVar[Mapping[str, float]] = {"similarity": 30000.0}
    least_batch = 2

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``similarity`` where it is active."""
        teacher = self.require_teacher(teacher)
        if "similarity" not in self.active:
            return {}
        check_batch(student.embedding, self.least_batch, "PKT, which compares images with each other,")
        return {"similarity": pkt_loss(student.embedding, teacher.embedding)}
