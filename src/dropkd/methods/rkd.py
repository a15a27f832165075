"""Distillation of the distances and angles between images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.checks import check_batch
from dropkd.functional.rkd import rkd_angle_loss, rkd_distance_loss
from dropkd.methods.method import Method

__all__ = ["RKD"]


class RKD(Method):
    r"""The student learns how far the images of a batch lie from each other, and at what angles, for the teacher.

    Where the images lie is left to the student: embeddings of any widths are compared, without projectors.

    Equation:
        L_{distance} = \frac{1}{B^2} \sum_{i,j} \ell \left( \frac{d^s_{ij}}{\bar d^s} - \frac{d^t_{ij}}{\bar d^t}
            \right), \quad d_{ij} = \| f_i - f_j \|
        L_{angle} = \frac{1}{B^3} \sum_{i,j,k} \ell \left( \langle e^s_{ij}, e^s_{ik} \rangle
            - \langle e^t_{ij}, e^t_{ik} \rangle \right), \quad e_{ij} = \frac{f_j - f_i}{\| f_j - f_i \|}
        \ell(x) = \frac{1}{2} x^2 \text{ for } |x| < 1, \text{ else } |x| - \frac{1}{2}

        f is the embedding, of the student (s) and the teacher (t); the bar is the mean over pairs of different images.
        An image with itself has distance 0 and the cosines 0, which are counted in the means.

    Terms:
        distance: smooth L1 distance between the two networks' pairwise distances, each divided by its mean; weight 25.
        angle: smooth L1 distance between the cosines of the angles at each image between each two others; weight 50.
            Both weights are those of the CIFAR-100 benchmarks, beside a cross-entropy of weight 1.

    Trains:
        nothing of its own.

    Args:
        pair: the shapes of student and teacher.
        squared: compare squared distances in the term distance.

    Note:
        The authors' own experiments are in metric learning, with weights 1 and 2 beside no other term. Distances are
        divided by the mean over pairs of different images, which needs two images; with two both terms are 0, so three
        are the fewest that teach anything. The cosines of a batch of B images are B x B x B numbers, of which a part
        is held at a time. Of several processes each compares its own images.

    References:
        Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "rkd")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['angle', 'cross_entropy', 'distance']
    """

    student_reads = frozenset({"embedding"})
    teacher_reads = frozenset({"embedding"})
    terms: ClassVar[Mapping[str, float]] = {"distance": 25.0, "angle": 50.0}
    least_batch = 2

    def __init__(self, pair: Pair, *, squared: bool = False) -> None:
        super().__init__(pair)
        self.squared = squared

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the active terms."""
        compared = student.embedding, self.require_teacher(teacher).embedding
        if self.active:
            check_batch(student.embedding, self.least_batch, "RKD, which compares images with each other,")
        terms = {}
        if "distance" in self.active:
            terms["distance"] = rkd_distance_loss(*compared, squared=self.squared)
        if "angle" in self.active:
            terms["angle"] = rkd_angle_loss(*compared)
        return terms
