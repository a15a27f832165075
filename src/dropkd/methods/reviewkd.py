"""Knowledge review."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge
from torch import Tensor, nn

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.checks import check_batch
from dropkd.functional.hints import hcl_loss
from dropkd.functional.precision import full_precision
from dropkd.methods.method import Method
from dropkd.methods.review_fusion import Fusion
from dropkd.methods.stages import pair_stages

__all__ = ["ReviewKD"]

_WIDEST = 512
_READS = {"after": "maps", "before": "preactivations"}


class ReviewKD(Method):
    r"""The student learns to predict each of the teacher's maps from its own map and all of its deeper ones.

    The levels are the embedding, as a map of one cell, and all stages paired from the deep end. Each is fused with
    what the deeper levels gave, so that shallow stages are reviewed in the light of deep ones.

    Equation:
        f_l, \, r_l = \mathrm{ABF}_l(F^s_l, r_{l-1})
        L = \sum_l \frac{1}{1 + \sum_j 2^{-j}} \Big[ \mathrm{MSE}(f_l, F^t_l) + \sum_j 2^{-j} \,
            \mathrm{MSE}(\mathrm{pool}_{k_j} f_l, \mathrm{pool}_{k_j} F^t_l) \Big]
        \mathrm{ABF}: \; x = \mathrm{BN}(W_1 F^s_l), \quad z = \sigma(W_z [x, \mathrm{up}(r_{l-1})] + b_z), \quad
            r_l = z_1 x + z_2 \, \mathrm{up}(r_{l-1}), \quad f_l = \mathrm{BN}(W_2 * r_l)

        Levels l run from the embedding to the shallowest stage; k_j are those of 4, 2, 1 that are smaller than the
        grid, j = 1, 2, ...; MSE is the mean over all elements, pool_k averages down to k x k cells, up and the grid of
        f_l go by the nearest neighbour to the student's and the teacher's grid; W_1 is 1 x 1 and W_2 is 3 x 3.

    Terms:
        review: distance of the predicted maps from the teacher's and of their pyramids, summed over levels; weight 1,
            that of the authors for resnet110 -> resnet32 and on ImageNet, beside a cross-entropy of weight 1. It rises
            over 20 epochs.

    Trains:
        for each level a fusion module: two convolutions with batch norms and, but for the deepest, a 1x1 convolution
        for the two shares: 114,278 parameters for cifar_resnet56 -> cifar_resnet20.

    Args:
        pair: the shapes of student and teacher.
        width: channels of the fusion modules; null: the width of the student's embedding, at most 512.
        student_maps: which of the student's maps are read: after = after their last activation, before = before it.

    Note:
        Weights of the authors by pair, on CIFAR-100: 0.6 for resnet56 -> resnet20
        (``--set method.weights.review=0.6``), 1 for resnet110 -> resnet32, 5 for resnet32x4 -> resnet8x4 and
        ShuffleNetV1 and for wrn_40_2 -> wrn_16_2, wrn_40_1 and ShuffleNetV1, 8 for resnet32x4 -> ShuffleNetV2; on
        ImageNet 1 for ResNet34 -> ResNet18 and 8 for ResNet50 -> MobileNetV1.

        The teacher's maps are those before their last activation, the student's those after it
        (``student_maps: before`` is the authors' setting for ImageNet). Their ImageNet code has no modules wider than
        256, so ResNet50 -> MobileNetV1 is ``width: 256``. The first epoch has a twentieth of the weight, as in the
        benchmarks; in the authors' code it has none.

        Fusion and prediction are written in another order than the authors', with the same result up to rounding:
        the statistics of the first batch norm come from the covariance of its narrow input.

        The level of the embedding is one vector for each image, of which batch norm wants two at least. Grids that
        are no multiple of each other, as those of transformers and CNNs, are resized by the nearest neighbour.

    References:
        Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", CVPR 2021.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "reviewkd")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'review']
    """

    student_reads = frozenset({"maps", "embedding"})
    teacher_reads = frozenset({"preactivations", "embedding"})
    terms: ClassVar[Mapping[str, float]] = {"review": 1.0}
    warmup_epochs: ClassVar[float] = 20.0
    least_batch = 2

    def __init__(
        self,
        pair: Pair,
        *,
        width: Annotated[int, Ge(1)] | None = None,
        student_maps: Literal["after", "before"] = "after",
    ) -> None:
        super().__init__(pair)
        self.student_reads = frozenset({_READS[student_maps], "embedding"})
        self.student_maps = student_maps
        self.stages = pair_stages(pair, "all")
        channels = [(pair.student.embedding, pair.teacher.embedding if pair.teacher else 0)]
        channels += [(stage.student[0], stage.teacher[0]) for stage in self.stages]
        middle = width if width is not None else min(_WIDEST, pair.student.embedding)
        self.levels = nn.ModuleList(
            Fusion(ours, middle, theirs, deepest=number == 0) for number, (ours, theirs) in enumerate(channels)
        )

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``review`` where it is active."""
        teacher = self.require_teacher(teacher)
        if "review" not in self.active:
            return {}
        if self.training:
            check_batch(student.embedding, self.least_batch, "ReviewKD")
        ours = self._list_maps(student, _READS[self.student_maps])
        theirs = self._list_maps(teacher, "preactivations")
        predicted, deeper = [], None
        for level, feature_map, target in zip(self.levels, ours, theirs, strict=True):
            prediction, deeper = level(feature_map, deeper, target.shape[2:])
            predicted.append(prediction)
        return {"review": hcl_loss(predicted, theirs)}

    def _list_maps(self, answer: Outputs, field: str) -> list[Tensor]:
        """Return the embedding as a map of one cell, then the maps from the deep end."""
        maps = getattr(answer, field)
        return [answer.embedding[:, :, None, None], *(maps[-stage.number] for stage in self.stages)]
