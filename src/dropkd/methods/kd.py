"""Distillation of softened class probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.kd import kd_loss
from dropkd.methods.method import Method
from dropkd.methods.options import Temperature

__all__ = ["KD"]


class KD(Method):
    """The student learns the teacher's softened class probabilities.

    Terms:
        logit: Kullback-Leibler divergence of the softened student from the softened teacher, times the
            squared temperature; weight 1 beside a cross-entropy of weight 1.

    Trains:
        nothing of its own.

    Args:
        pair: the shapes of student and teacher, whose logits must be as many.
        temperature: both networks' logits are divided by it.

    Note:
        The CIFAR-100 benchmarks use temperature 4 with weights 0.1 for the cross-entropy and 0.9 for this
        term over 240 epochs (``--set method.weights.cross_entropy=0.1 --set method.weights.logit=0.9``); on
        ImageNet temperature 1 with 0.5 and 0.5. Short trainings lose by it much of what the labels say, so
        the default is 1 and 1.

    References:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """

    student_reads: ClassVar[frozenset[str]] = frozenset({"logits"})
    teacher_reads: ClassVar[frozenset[str]] = frozenset({"logits"})
    terms: ClassVar[Mapping[str, float]] = {"logit": 1.0}
    label_space_terms: ClassVar[frozenset[str]] = frozenset({"logit"})

    def __init__(self, pair: Pair, *, temperature: Temperature = 4.0) -> None:
        super().__init__(pair)
        self.temperature = temperature

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``logit`` where it is active."""
        teacher = self.require_teacher(teacher)
        if "logit" not in self.active:
            return {}
        return {"logit": kd_loss(student.logits, teacher.logits, self.temperature)}
