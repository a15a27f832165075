"""Distillation of the correlations between images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt
from torch import Tensor, nn

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.precision import full_precision
from dropkd.functional.relations import cc_kernel_loss, cc_loss
from dropkd.methods.method import Method

__all__ = ["CC"]


class CC(Method):
    r"""The student learns how the images of a batch correlate for the teacher.

    Both networks' embeddings are projected to one width, by layers that are both trained.

    Equation:
        L_{neighbours} = \frac{1}{B - 1} \sum_i \langle | f^s_i - f^t_i |, | f^s_{i+1} - f^t_{i+1} | \rangle
        L_{kernel} = \frac{1}{B^2} \| K^s - K^t \|_F^2, \quad K_{ij} = e^{-2 \gamma} \sum_{p=0}^{P}
            \frac{(2 \gamma)^p}{p!} \left( \frac{\langle f_i, f_j \rangle}{\| f_i \| \| f_j \|} \right)^p

        f is the projected embedding, of the student (s) and the teacher (t); which of the two is the loss, the option
        form says.

    Terms:
        correlation: the loss in the chosen form; weight 0.02, that of the CIFAR-100 benchmarks for the form
            neighbours, beside a cross-entropy of weight 1.

    Trains:
        a linear layer for each network (D x 128 + 128 weights for an embedding of D numbers): 16,640 parameters for
        cifar_resnet56 -> cifar_resnet20.

    Args:
        pair: the shapes of student and teacher.
        form: neighbours = how far the two networks are apart at an image, correlated with the same at the next image
            of the batch; kernel = similarities of all pairs of images, by a Gaussian kernel.
        width: numbers in a projected embedding.
        gamma: of the Gaussian kernel exp(-gamma d^2) in the form kernel.
        order: of the Taylor series that stands for it in the form kernel.

    Note:
        The paper describes the kernel. The published CIFAR-100 numbers come from code of its first author in another
        form, neighbours, which is the default. The kernel is here as two public re-implementations write it, with
        their gamma 0.4 and order 2. They differ beyond it: one takes unit vectors and the squared norm, as here, the
        other neither; the factor exp(-2 gamma) is that of unit vectors. Its term is small, and the one that prints a
        weight has 100 (``--set method.weights.correlation=100``). In both forms the layers can make the loss small by
        themselves, since the teacher's learns too. Of several processes each compares its own images.

    References:
        Peng, Jin, Liu, Li, Wu, Liu, Zhou, Zhang, "Correlation Congruence for Knowledge Distillation", ICCV 2019.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "cc")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['correlation', 'cross_entropy']
    """

    student_reads = frozenset({"embedding"})
    teacher_reads = frozenset({"embedding"})
    terms: ClassVar[Mapping[str, float]] = {"correlation": 0.02}
    least_batch = 2

    def __init__(
        self,
        pair: Pair,
        *,
        form: Literal["neighbours", "kernel"] = "neighbours",
        width: Annotated[int, Ge(1)] = 128,
        gamma: Annotated[float, Gt(0)] = 0.4,
        order: Annotated[int, Ge(1)] = 2,
    ) -> None:
        super().__init__(pair)
        self.form, self.gamma, self.order = form, gamma, order
        sides = {"student": pair.student, "teacher": pair.teacher}
        self.projectors = nn.ModuleDict({side: nn.Linear(s.embedding, width) for side, s in sides.items() if s})

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``correlation`` where it is active."""
        teacher = self.require_teacher(teacher)
        if "correlation" not in self.active:
            return {}
        ours = self.projectors["student"](student.embedding)
        theirs = self.projectors["teacher"](teacher.embedding.detach())
        if self.form == "kernel":
            return {"correlation": cc_kernel_loss(ours, theirs, self.gamma, self.order)}
        return {"correlation": cc_loss(ours, theirs)}
