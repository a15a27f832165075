"""Distillation of softened class probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.errors import ConfigError
from dropkd.functional.kd import kd_loss, kd_sigmoid_loss
from dropkd.functional.standardization import standardize_logits
from dropkd.methods.method import Method
from dropkd.methods.options import Temperature

__all__ = ["KD"]


class KD(Method):
    r"""The student learns the teacher's softened class probabilities.

    Equation:
        p = \operatorname{softmax}(z / T)
        L_{logit} = T^2 \, \frac{1}{B} \sum_i \sum_c p^t_{ic} \, (\log p^t_{ic} - \log p^s_{ic})
            \quad \text{(softmax)}
        p = \operatorname{sigmoid}(z / T), \quad q = 1 - p
        L_{logit} = T^2 \, \frac{1}{B K} \sum_i \sum_c p^t_{ic} \log \frac{p^t_{ic}}{p^s_{ic}} +
            q^t_{ic} \log \frac{q^t_{ic}}{q^s_{ic}} \quad \text{(sigmoid)}

        z are the logits of student (s) and teacher (t), T is the temperature, i one of B images
        and c one of K classes.

    Terms:
        logit: Kullback-Leibler divergence of the softened student from the softened teacher, times the
            squared temperature; weight 1 beside a cross-entropy of weight 1.

    Trains:
        nothing of its own.

    Args:
        pair: the shapes of student and teacher, whose logits must be as many.
        temperature: both networks' logits are divided by it.
        standardize: give each row of logits mean 0 and deviation 1 first, as in LSKD; for the form softmax alone.
        form: softmax = one class among several; sigmoid = each class is a question of its own, for images with several
            labels, or a teacher that was trained by binary cross-entropy; auto = sigmoid where images have several
            labels, else softmax.

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

        The form sigmoid is a mean over classes, as binary cross-entropy is, where its authors add them up without a
        temperature: their loss is K times this at temperature 1, which also did better than 4 when it was tried
        (docs/multi-label.md). With one class for each image the cross-entropy beside it still is that of the softmax.

    References:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2. Yang, Xie, Zong, Feng,
        Niu, Sugiyama, Huang, "Multi-Label Knowledge Distillation", ICCV 2023 (sigmoid).

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
    single_label_terms: ClassVar[frozenset[str] | None] = frozenset()

    def __init__(
        self,
        pair: Pair,
        *,
        temperature: Temperature = 4.0,
        standardize: bool = False,
        form: Literal["auto", "softmax", "sigmoid"] = "auto",
    ) -> None:
        super().__init__(pair)
        if form == "softmax" and pair.multi_label:
            raise ConfigError(
                "method.form is 'softmax', which shares one certainty among the classes, but these images have several "
                "labels or none. Use 'sigmoid', which 'auto' chooses here."
            )
        self.form = ("sigmoid" if pair.multi_label else "softmax") if form == "auto" else form
        if self.form == "sigmoid" and standardize:
            raise ConfigError(
                "method.standardize takes each image's mean logit away, which in the form 'sigmoid' decides what is "
                "there and what isn't. Leave it out, or use form 'softmax' where each image has one class."
            )
        self.temperature = temperature
        self.standardize = standardize

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``logit`` where it is active."""
        compared = (student.logits, self.require_teacher(teacher).logits)
        if "logit" not in self.active:
            return {}
        if self.standardize:
            compared = (standardize_logits(compared[0]), standardize_logits(compared[1]))
        loss = kd_sigmoid_loss if self.form == "sigmoid" else kd_loss
        return {"logit": loss(*compared, self.temperature)}
