"""Distillation of what unlike architectures have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Ge
from torch import Tensor, nn

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.checks import check_batch
from dropkd.functional.precision import full_precision
from dropkd.functional.rsd import rsd_loss
from dropkd.methods.method import Method

__all__ = ["RSD"]


class RSD(Method):
    r"""The student's embedding learns to vary with the teacher's, feature by feature, and with nothing else in it.

    What two architectures agree on shows as features that go together over the images; what only one of them says
    shows as correlations between different features, and is pushed out.

    Equation:
        \tilde{e}_{bi} = \frac{e_{bi} - \mathrm{mean}_b \, e_{bi}}{\mathrm{std}_b \, e_{bi} + 10^{-5}}
        C_{ij} = \frac{1}{B} \sum_b \tilde{e}^t_{bi} \, \tilde{h}^s_{bj}, \quad h^s = P(e^s)
        L = \sum_i (C_{ii} - 1)^2 + \kappa \sum_{i \ne j} C_{ij}^2

        e are the embeddings of the B images and P is the projector.

    Terms:
        redundancy: squared distance of the correlations from the identity, summed over all pairs of features; weight
            0.1, the default of the authors' code, beside a cross-entropy of weight 1.

    Trains:
        a projector from the student's embedding to the width of the teacher's: linear layer to ``expansion`` times the
        width, batch norm, GELU, linear layer, none with a bias; 16,640 parameters for cifar_resnet56 ->
        cifar_resnet20.

    Args:
        pair: the shapes of student and teacher.
        kappa: weight of the correlations between different features, which should be 0, beside those of one feature in
            both networks, which should be 1.
        expansion: how many times wider than the student's embedding the projector is inside.

    Note:
        Chosen as one of two methods for unlike architectures later than OFA-KD, since its authors' code is complete and
        short, and it reads nothing but the two embeddings: no map, so no question of grids, stages or class tokens,
        and a cached teacher is as good as a live one.

        Source: spacewanderx/RSD@e4c7b3d, distillers/rsd.py and train.py. From that code: the loss with all its
        constants, the projector and how it starts (normal, deviation 0.02), the weight and kappa. The paper, of which
        only the abstract and a summary by others were at hand, agrees in what is described there: correlations of the
        penultimate embeddings to the identity, a wide layer with batch norm and GELU and one to the teacher's width,
        kappa for the decorrelation. The summary speaks of a mean squared distance where the code sums; that is a factor
        of the squared width on the weight, and the weight here is that of the sum. The command in the authors' README
        starts OFA-KD; their train.sh starts RSD.

        Decided here: it is computed in float32 under mixed precision. Correlations are those of one process's images,
        as in the code. With a batch far smaller than the teacher's embedding they are mostly chance.

    References:
        Zhang, Liu, Ran, Ma, "Cross-Architecture Distillation Made Simple with Redundancy Suppression", ICCV 2025.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cct_2_3x2", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "rsd")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'redundancy']
    """

    student_reads = frozenset({"embedding"})
    teacher_reads = frozenset({"embedding"})
    terms: ClassVar[Mapping[str, float]] = {"redundancy": 0.1}
    least_batch = 2

    def __init__(
        self,
        pair: Pair,
        *,
        kappa: Annotated[float, Ge(0)] = 0.01,
        expansion: Annotated[int, Ge(1)] = 2,
    ) -> None:
        super().__init__(pair)
        self.kappa = kappa
        width, goal = pair.student.embedding, pair.teacher.embedding if pair.teacher else 0
        self.projector = nn.Sequential(
            nn.Linear(width, expansion * width, bias=False),
            nn.BatchNorm1d(expansion * width),
            nn.GELU(),
            nn.Linear(expansion * width, goal, bias=False),
        )
        for layer in self.projector:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``redundancy`` where it is active."""
        teacher = self.require_teacher(teacher)
        if "redundancy" not in self.active:
            return {}
        check_batch(student.embedding, self.least_batch, "RSD, which correlates features over images,")
        return {"redundancy": rsd_loss(self.projector(student.embedding), teacher.embedding, self.kappa)}
