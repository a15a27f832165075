"""Distillation decoupled into the target class and the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.dkd import nckd_loss, tckd_loss
from dropkd.functional.standardization import standardize_logits
from dropkd.methods.method import Method
from dropkd.methods.options import Temperature

__all__ = ["DKD"]

_PARTS = {"target": tckd_loss, "nontarget": nckd_loss}


class DKD(Method):
    r"""The student learns how sure the teacher is of the target class and, apart from it, how it ranks the others.

    Equation:
        b = (p_y, \, 1 - p_y), \quad p = \operatorname{softmax}(z / T)
        \hat p_c = \frac{e^{z_c / T}}{\sum_{k \neq y} e^{z_k / T}}, \quad c \neq y
        L_{target} = T^2 \, \frac{1}{B} \sum_i \operatorname{KL}(b^t_i \,\|\, b^s_i)
        L_{nontarget} = T^2 \, \frac{1}{B} \sum_i \operatorname{KL}(\hat p^t_i \,\|\, \hat p^s_i)

        y is the label. KD is the target part plus the nontarget part times 1 - p^t_y of each image: a sure teacher
        silences what it says of the other classes there, and not here.

    Terms:
        target: divergence of (target, rest), called TCKD by the authors; weight 1.
        nontarget: divergence among the other classes, called NCKD; weight 8. Both weights are the authors'. They rise
            over the first 20 epochs, at most a twelfth of all.

    Trains:
        nothing of its own.

    Args:
        pair: the shapes of student and teacher, whose logits must be as many.
        temperature: both networks' logits are divided by it.
        standardize: give each row of logits mean 0 and deviation 1 first, as in LSKD.

    Note:
        Published weights, beside a cross-entropy of weight 1 and a target weight of 1:

        | pair | temperature | nontarget |
        |---|---|---|
        | ResNet-32x4 to ResNet-8x4 or ShuffleNets, WRN-40-2 to ShuffleNetV1, ResNet-50 to MobileNetV2 | 4 | 8 |
        | VGG-13 to VGG-8 or MobileNetV2, WRN-40-2 to WRN-16-2 or WRN-40-1 | 4 | 6 |
        | ResNet-56 to ResNet-20, ResNet-110 to ResNet-32 | 4 | 2 |
        | ImageNet: ResNet-34 to ResNet-18, warm-up of 1 epoch | 1 | 0.5 |
        | ImageNet: ResNet-50 to MobileNetV1, warm-up of 1 epoch | 1 | 2 |

        The authors' code takes logarithms of sums of probabilities, which are infinite in float32 for far-apart
        logits; the same numbers come from log space here. With two classes there is one other class and the term
        nontarget is 0. Under mixup the target class is the one with the larger share. With ``standardize`` the
        authors of LSKD take temperature 2 and 9 times both weights.

    References:
        Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", CVPR 2022.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "dkd")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'nontarget', 'target']
    """

    student_reads = frozenset({"logits"})
    teacher_reads = frozenset({"logits"})
    terms: ClassVar[Mapping[str, float]] = {"target": 1.0, "nontarget": 8.0}
    label_space_terms: ClassVar[frozenset[str]] = frozenset({"target", "nontarget"})
    warmup_epochs: ClassVar[float] = 20.0

    def __init__(self, pair: Pair, *, temperature: Temperature = 4.0, standardize: bool = False) -> None:
        super().__init__(pair)
        self.temperature = temperature
        self.standardize = standardize

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the active terms."""
        compared = (student.logits, self.require_teacher(teacher).logits)
        if self.standardize:
            compared = (standardize_logits(compared[0]), standardize_logits(compared[1]))
        return {
            name: part(*compared, batch.target, self.temperature)
            for name, part in _PARTS.items()
            if name in self.active
        }
