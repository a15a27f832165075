"""Neuron selectivity transfer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.nst import nst_loss
from dropkd.methods.method import Method
from dropkd.methods.positions import check_positions
from dropkd.methods.stages import Stages, pair_stages

__all__ = ["NST"]


class NST(Method):
    r"""The student learns at which positions the teacher's channels respond, whatever their number and order.

    Equation:
        \hat{f}_c = \frac{\mathrm{vec}\, F_c}{\lVert \mathrm{vec}\, F_c \rVert_2}, \quad k(a, b) = (a^\top b)^2
        L = \sum_l \overline{k(\hat{f}^t_c, \hat{f}^t_{c'})} + \overline{k(\hat{f}^s_c, \hat{f}^s_{c'})}
            - 2\, \overline{k(\hat{f}^s_c, \hat{f}^t_{c'})}

        F_c is channel c of a map at stage l, of the student (s) and the teacher (t), the larger one pooled to the grid
        of the smaller; the bar is the mean over images and pairs of channels.

    Terms:
        selectivity: squared maximum mean discrepancy between the two networks' channels, summed over stages; weight
            50, that of the CIFAR-100 benchmarks, beside a cross-entropy of weight 1.

    Trains:
        nothing of its own: 0 parameters for cifar_resnet56 -> cifar_resnet20.

    Args:
        pair: the shapes of student and teacher.
        stages: pairs of maps that are compared: deepest, all (paired from the deep end), or how many from the
            deep end.

    Note:
        Of the paper's kernels this is the polynomial one of degree 2 without a constant, which the benchmarks use.
        Its mean over pairs of channels is computed by channels or by positions, whichever are fewer, so that a step
        keeps no more numbers than the larger map of a pair has; the same value as pair by pair.

        On a common grid of one cell all channels are alike, so such a stage adds 0; where all are so, the pair is
        refused.

    References:
        Huang, Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", 2017.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "nst")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'selectivity']
    """

    student_reads = frozenset({"maps"})
    teacher_reads = frozenset({"maps"})
    terms: ClassVar[Mapping[str, float]] = {"selectivity": 50.0}

    def __init__(self, pair: Pair, *, stages: Stages = "all") -> None:
        super().__init__(pair)
        self.stages = pair_stages(pair, stages)
        check_positions(self.stages, "NST")

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``selectivity`` where it is active."""
        teacher = self.require_teacher(teacher)
        if "selectivity" not in self.active:
            return {}
        ours, theirs = ([answer.maps[-stage.number] for stage in self.stages] for answer in (student, teacher))
        return {"selectivity": nst_loss(ours, theirs)}
