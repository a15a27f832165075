"""Distillation of logits at three levels: images, batch and classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.mld import MLDForm, mld_levels
from dropkd.methods.method import Method
from dropkd.methods.options import Temperature

__all__ = ["MLD"]

# The authors' temperatures after the first.
_OTHER_TEMPERATURES = (3.0, 5.0, 2.0, 6.0)


class MLD(Method):
    r"""The student learns the teacher's probabilities, likenesses between images and likenesses between classes.

    Everything is compared at five temperatures, and each image is shown twice: by the usual augmentation and by a
    strong one.

    Equation:
        P = \operatorname{softmax}(z / T), \quad T \in \{4, 3, 5, 2, 6\}
        L_{instance} = \bar m \sum_T KD_T(w) + \sum_{T \in \{4, 3, 5\}} KD_T(s) + \sum_{T \in \{2, 6\}} KD_T(w)
        L_{batch} = \bar m \sum_T \frac{1}{B} \|P^t P^{t\top} - P^s P^{s\top}\|_F^2
        L_{classes} = \bar k \sum_T \frac{1}{K} \|P^{t\top} P^t - P^{s\top} P^s\|_F^2

        w and s are the weak and the strong view, KD_T is the loss of KD at temperature T, P (B, K) is that of the weak
        view; m and k are the shares of the images and of the classes that the teacher is at most medianly sure of,
        about a half each.

    Terms:
        instance: divergence of softened probabilities in both views; weight 0.9.
        batch: squared distance of the products of images, weak view; weight 0.9.
        classes: squared distance of the products of classes, weak view; weight 0.9. All are the authors' weights on
            CIFAR-100. Their cross-entropy has 0.1 for each view; the engine averages over both, so its weight is 0.2.

    Trains:
        nothing of its own.

    Args:
        pair: the shapes of student and teacher, whose logits must be as many.
        form: code = what the authors' code computes, as in the equation; intended = what it is meant to: each
            unsure image of the weak view counts with its own divergence, and the strong view is compared at all
            temperatures.
        temperature: the first of the five temperatures; the others are 3, 5, 2 and 6.
        standardize: give each row of logits mean 0 and deviation 1 in the term instance, as in LSKD.

    Note:
        The published numbers belong to the form ``code``. There the mask multiplies a loss that is averaged already,
        so that it scales it by a half; the strong view's part compares the weak view at the last two temperatures;
        and batch and classes look at the weak view alone, which both forms keep. On ImageNet the authors take 1 as
        the first temperature and all weights 0.5. With ``standardize`` they take 2, and 9 as the weight of each term.
        A step costs two passes of the student and the teacher.

    References:
        Jin, Wang, Lin, "Multi-Level Logit Distillation", CVPR 2023.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "mld")(torch.rand(8, 3, 32, 32), torch.arange(4).repeat(2))
        >>> sorted(losses.raw)  # of 4 images in two views
        ['batch', 'classes', 'cross_entropy', 'instance']
    """

    student_reads = frozenset({"logits"})
    teacher_reads = frozenset({"logits"})
    terms: ClassVar[Mapping[str, float]] = {"instance": 0.9, "batch": 0.9, "classes": 0.9}
    label_space_terms: ClassVar[frozenset[str]] = frozenset({"instance", "batch", "classes"})
    views = ("standard", "strong")
    labelled_views = 2
    cross_entropy_weight: ClassVar[float] = 0.2

    def __init__(
        self, pair: Pair, *, form: MLDForm = "code", temperature: Temperature = 4.0, standardize: bool = False
    ) -> None:
        super().__init__(pair)
        self.form = form
        self.temperatures = (temperature, *_OTHER_TEMPERATURES)
        self.standardize = standardize

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the active terms."""
        teacher = self.require_teacher(teacher)
        if not self.active:
            return {}
        student_weak, student_strong = student.logits.chunk(2)
        teacher_weak, teacher_strong = teacher.logits.chunk(2)
        views = (student_weak, student_strong, teacher_weak, teacher_strong)
        levels = mld_levels(*views, self.temperatures, self.form, self.standardize)
        return {name: value for name, value in levels._asdict().items() if name in self.active}
