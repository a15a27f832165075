"""Distillation of standardised logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.kd import kd_loss
from dropkd.functional.standardization import standardize_logits
from dropkd.methods.method import Method
from dropkd.methods.options import Temperature

__all__ = ["LSKD"]


class LSKD(Method):
    r"""The student learns the teacher's class probabilities up to the mean and the size of the logits.

    A small student can't reach the size of a large teacher's logits and need not: their order and proportions are what
    it is asked for. The cross-entropy sees the logits as they are.

    Equation:
        Z(z) = \frac{z - \operatorname{mean}(z)}{\operatorname{std}(z) + 10^{-7}}
        p = \operatorname{softmax}(Z(z) / T)
        L_{logit} = T^2 \, \frac{1}{B} \sum_i \sum_c p^t_{ic} \, (\log p^t_{ic} - \log p^s_{ic})

        Mean and standard deviation are those of a row of logits, the latter with K - 1 in the denominator.

    Terms:
        logit: Kullback-Leibler divergence of the softened student from the softened teacher, both standardised,
            times the squared temperature; weight 9, beside a cross-entropy of weight 0.1, as in the authors' runs of
            KD with standardised logits.

    Trains:
        nothing of its own.

    Args:
        pair: the shapes of student and teacher, whose logits must be as many.
        temperature: both networks' standardised logits are divided by it.

    Note:
        The authors vary temperature (2 to 4) and weight (6 to 18) by pair; 2 and 9 are the values of their examples.
        The same standardisation is an option of every method of logits (``standardize``). The authors' forms:

        | method | temperature | weights |
        |---|---|---|
        | kd | 2 | logit 9, cross_entropy 0.1 |
        | dkd | 2 | target 9, nontarget 9 times that of DKD alone, cross_entropy 1 |
        | mld | 2 in place of 4 | instance, batch and classes 9, where instance alone is standardised |

        With two classes every row becomes (-0.71, 0.71) or the reverse: nothing is left but which class is
        first, and no gradient. Take kd there.

    References:
        Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation", CVPR 2024, algorithm 1.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "lskd")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'logit']
    """

    student_reads = frozenset({"logits"})
    teacher_reads = frozenset({"logits"})
    terms: ClassVar[Mapping[str, float]] = {"logit": 9.0}
    label_space_terms: ClassVar[frozenset[str]] = frozenset({"logit"})
    cross_entropy_weight: ClassVar[float] = 0.1

    def __init__(self, pair: Pair, *, temperature: Temperature = 2.0) -> None:
        super().__init__(pair)
        self.temperature = temperature

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``logit`` where it is active."""
        teacher = self.require_teacher(teacher)
        if "logit" not in self.active:
            return {}
        compared = (standardize_logits(student.logits), standardize_logits(teacher.logits))
        return {"logit": kd_loss(*compared, self.temperature)}
