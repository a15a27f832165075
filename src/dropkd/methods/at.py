"""Attention transfer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Ge
from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.attention import ATForm, at_loss
from dropkd.methods.method import Method
from dropkd.methods.positions import check_positions
from dropkd.methods.stages import Stages, pair_stages

__all__ = ["AT"]


class AT(Method):
    r"""The student learns where the teacher looks: the strength of its features at each position.

    Equation:
        Q(F) = \frac{v}{\lVert v \rVert_2}, \quad v = \mathrm{vec}\Big(\frac{1}{C} \sum_c F_c^p\Big)
        L = \sum_l \frac{1}{B H_l W_l} \sum_i \lVert Q(F^s_{l,i}) - Q(F^t_{l,i}) \rVert_2^2 \quad \text{(code)}
        L = \sum_l \frac{1}{B} \sum_i \lVert Q(|F^s_{l,i}|) - Q(|F^t_{l,i}|) \rVert_2 \quad \text{(paper)}

        F_{l,i} is the map of image i at stage l, of the student (s) and the teacher (t), the larger one pooled to the
        grid of the smaller; p is the power, B the number of images.

    Terms:
        attention: distance of the two networks' attention maps, summed over stages; weight 1000, that of the authors'
            code and of the CIFAR-100 benchmarks, beside a cross-entropy of weight 1.

    Trains:
        nothing of its own: 0 parameters for cifar_resnet56 -> cifar_resnet20.

    Args:
        pair: the shapes of student and teacher.
        power: of the features; the higher, the more the strongest positions weigh.
        form: code = squared differences, as in the authors' code; paper = the length of the difference of two images'
            attention maps, as in the paper.
        stages: pairs of maps that are compared: deepest, all (paired from the deep end), or how many from the
            deep end.

    Note:
        Code and paper differ. The published numbers and the weight of 1000 belong to the code, which is the default.
        The paper's form is on another scale and wants a weight of its own, about 0.1
        (``--set method.form=paper --set method.weights.attention=0.1``).

        Maps that end in no ReLU, as those of transformers, have negative values. An even power forgets the sign. In
        the form code an odd power keeps it, so that channels may cancel, and a power that is no whole number takes
        absolute values, since the code would give nan; in the form paper all powers take absolute values.

        A common grid of one cell has one attention map only, so such a stage adds 0; where all are so, the pair is
        refused.

    References:
        Zagoruyko, Komodakis, "Paying More Attention to Attention: Improving the Performance of Convolutional
        Neural Networks via Attention Transfer", ICLR 2017, equation 2.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "at")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['attention', 'cross_entropy']
    """

    student_reads = frozenset({"maps"})
    teacher_reads = frozenset({"maps"})
    terms: ClassVar[Mapping[str, float]] = {"attention": 1000.0}

    def __init__(
        self, pair: Pair, *, power: Annotated[float, Ge(1)] = 2.0, form: ATForm = "code", stages: Stages = "all"
    ) -> None:
        super().__init__(pair)
        self.power, self.form = power, form
        self.stages = pair_stages(pair, stages)
        check_positions(self.stages, "AT")

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``attention`` where it is active."""
        teacher = self.require_teacher(teacher)
        if "attention" not in self.active:
            return {}
        ours, theirs = ([answer.maps[-stage.number] for stage in self.stages] for answer in (student, teacher))
        return {"attention": at_loss(ours, theirs, self.power, self.form)}
