"""Distillation of softened class probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.kd import kd_loss
from dropkd.functional.standardization import standardize_logits
from dropkd.methods.method import Method
from dropkd.methods.options import Temperature

__all__ = ["KD"]


class KD(Method):
    r"""The student learns the teacher's softened class probabilities.

    Equation:
        p = \operatorname{softmax}(z / T)
        L_{logit} = T^2 \, \frac{1}{B} \sum_i \sum_c p^t_{ic} \, (\log p^t_{ic} - \log p^s_{ic})

        z are the logits of student (s) and teacher (t), T is the temperature, i an image and c a class.

    Terms:
        logit: Kullback-Leibler divergence of the softened student from the softened teacher, times the
            squared temperature; weight 1 beside a cross-entropy of weight 1.

    Trains:
        nothing of its own.

    Args:
        pair: the shapes of student and teacher, whose logits must be as many.
        temperature: both networks' logits are divided by it.
        standardize: give each row of logits mean 0 and deviation 1 first, as in LSKD.

    Note:
        Published weights, where recipes/methods/kd.yaml has those of CIFAR-100:

        | data | epochs | temperature | cross_entropy | logit |
        |---|---|---|---|---|
        | CIFAR-100 | 240 | 4 | 0.1 | 0.9 |
        | ImageNet | 100 | 1 | 0.5 | 0.5 |

        Short trainings lose by the weights 0.1 and 0.9 much of what the labels say, so the default is 1 and 1
        (``--set method.weights.cross_entropy=0.1 --set method.weights.logit=0.9`` for the others). With
        ``standardize`` the loss is that of :class:`LSKD`, whose weights are 9 for this term and 0.1 for the
        cross-entropy at temperature 2.

    References:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "kd")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'logit']
    """

    student_reads = frozenset({"logits"})
    teacher_reads = frozenset({"logits"})
    terms: ClassVar[Mapping[str, float]] = {"logit": 1.0}
    label_space_terms: ClassVar[frozenset[str]] = frozenset({"logit"})

    def __init__(self, pair: Pair, *, temperature: Temperature = 4.0, standardize: bool = False) -> None:
        super().__init__(pair)
        self.temperature = temperature
        self.standardize = standardize

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``logit`` where it is active."""
        compared = (student.logits, self.require_teacher(teacher).logits)
        if "logit" not in self.active:
            return {}
        if self.standardize:
            compared = (standardize_logits(compared[0]), standardize_logits(compared[1]))
        return {"logit": kd_loss(*compared, self.temperature)}
