"""Distillation of correlations between and within classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.checks import check_batch, check_rank, check_same_shape
from dropkd.functional.dist import pearson_correlation
from dropkd.functional.precision import full_precision
from dropkd.functional.standardization import standardize_logits
from dropkd.methods.method import Method
from dropkd.methods.options import Temperature

__all__ = ["DIST"]

# The dimension of the softened probabilities (B, K) that each term correlates over.
_DIMENSIONS = {"inter": 1, "intra": 0}


class DIST(Method):
    r"""The student learns how the teacher ranks the classes of an image, and the images of a class.

    A correlation asks for less than a divergence: any rising straight line from the student's probabilities to the
    teacher's will do, which a student much smaller than its teacher can reach.

    Equation:
        p = \operatorname{softmax}(z / T)
        \rho(a, b) = \frac{\langle a - \bar a, b - \bar b \rangle}{\|a - \bar a\| \, \|b - \bar b\| + 10^{-8}}
        L_{inter} = T^2 \, (1 - \frac{1}{B} \sum_i \rho(p^s_{i \cdot}, p^t_{i \cdot}))
        L_{intra} = T^2 \, (1 - \frac{1}{K} \sum_c \rho(p^s_{\cdot c}, p^t_{\cdot c}))

        A row of p (B, K) holds the classes of an image, a column the images of a class.

    Terms:
        inter: one minus the mean correlation over the classes of an image, times the squared temperature; weight 2.
        intra: the same over the images of a class; weight 2. Both weights are the authors': 1 for each correlation,
            2 for the whole.

    Trains:
        nothing of its own.

    Args:
        pair: the shapes of student and teacher, whose logits must be as many.
        temperature: both networks' logits are divided by it.
        standardize: give each row of logits mean 0 and deviation 1 first, as in LSKD; not a form of the authors.

    Note:
        The default temperature 4 is that of the authors on CIFAR-100; on ImageNet they take 1, with the same weights.
        Equal answers give not quite 0, since 1e-8 is added to the norms. The term intra needs two images. With two
        classes the term inter says only whether both networks prefer the same class, so that it has next to no
        gradient and intra does the work.

    References:
        Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "dist")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'inter', 'intra']
    """

    student_reads = frozenset({"logits"})
    teacher_reads = frozenset({"logits"})
    terms: ClassVar[Mapping[str, float]] = {"inter": 2.0, "intra": 2.0}
    label_space_terms: ClassVar[frozenset[str]] = frozenset({"inter", "intra"})
    least_batch = 2

    def __init__(self, pair: Pair, *, temperature: Temperature = 4.0, standardize: bool = False) -> None:
        super().__init__(pair)
        self.temperature = temperature
        self.standardize = standardize

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the active terms."""
        compared = (student.logits, self.require_teacher(teacher).logits.detach())
        check_rank(compared[0], 2, "logits")
        check_same_shape(*compared, "logits")
        if "intra" in self.active:
            check_batch(student.logits, self.least_batch, "a correlation over the images of a batch")
        if self.standardize:
            compared = (standardize_logits(compared[0]), standardize_logits(compared[1]))
        ours, theirs = (torch.softmax(logits / self.temperature, dim=1) for logits in compared)
        return {
            name: self.temperature**2 * (1 - pearson_correlation(ours, theirs, dim).mean())
            for name, dim in _DIMENSIONS.items()
            if name in self.active
        }
