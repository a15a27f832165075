"""Dynamic prior knowledge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.errors import ConfigError
from dropkd.functional.checks import check_batch
from dropkd.functional.precision import full_precision
from dropkd.methods.hybrid_tokens import HybridStage, choose_patch
from dropkd.methods.method import Method
from dropkd.methods.options import Rate
from dropkd.methods.processes import average
from dropkd.methods.stages import StagePair, Stages, pair_stages
from dropkd.metrics.cka import hsic1

__all__ = ["DPK"]

_WIDEST = 256
# Of the unbiased estimate of CKA.
_LEAST_IMAGES = 4


class DPK(Method):
    r"""The student learns to complete the teacher's map, given a part of it that shrinks as the two become alike.

    Equation:
        H = M \odot E_t(F^t) + (1 - M) \odot E_s(F^s), \quad |M| = \mathrm{round}(\pi N)
        L = \frac{1}{B C H W} \lVert D(H) - \mathrm{norm}(F^t) \rVert_2^2
        \pi = 1 - \mathrm{CKA}(F^s, F^t)

        F^s and F^t are the maps of student and teacher on their common grid; E_s, E_t and D are small transformers over
        the N patches of a map; M is 1 at a random choice of patches, drawn for each image; norm brings the channels of
        each position to mean 0 and variance 1; no gradient flows through pi.

    Terms:
        feature: mean squared difference of the completed map from the teacher's, averaged over stages: 1 where nothing
            is known of the normalised map, 0 where all is; weight 5, decided here, beside a cross-entropy of weight 1:
            with it both moved the student's deepest map about as much in the first steps of the demo's pair.

    Trains:
        for each stage two encoders and a decoder of ``depth`` blocks each: 320,960 parameters for
        cifar_resnet56 -> cifar_resnet20.

    Args:
        pair: the shapes of student and teacher.
        ratio: share of the teacher's tokens: dynamic = 1 - CKA of the two maps, or a fixed number.
        momentum: weight of the batches before in the running CKA; 0 = of each batch alone.
        stages: pairs of maps that are compared: deepest, all (paired from the deep end), or how many from the
            deep end.
        normalize_target: whether the teacher's map is brought to mean 0 and variance 1 over the channels of each
            position before it is to be predicted.
        depth: blocks of each encoder and of the decoder.
        width: of the tokens; null: the channels of the student's map, at most 256, a multiple of the heads.
        heads: of the attention.
        patch: side of a patch in cells of the map; null: the smallest that leaves at most 8 patches each way.

    Note:
        There is no code of the authors, and no parity with their numbers is claimed. Stated: a part of the teacher's
        features is given to the student before features are compared, and its share follows the gap of the features.
        Described by third parties: tokens of both maps from two separate encoders, a random mask, a decoder,
        pi = 1 - CKA, a mean squared difference. Decided here: the terms' weight, the transformers' size, the deepest
        stage alone, the loss over all patches, and what docs/dpk.md lists beside these.

        CKA is the unbiased estimate of dropkd.metrics over a batch, of which four images are the least; the three
        criteria it is made of are averaged over batches with ``momentum`` before they are divided, and over all
        processes. A fixed ratio does not need it and takes any batch. At least one token of each image stays the
        student's, so that a grid of one patch has no prior at all.

    References:
        Qiu, Ma, Yang, Liu, Hou, Yi, Ouyang, "Better Teacher Better Student: Dynamic Prior Knowledge for Knowledge
        Distillation", ICLR 2023.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "dpk")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'feature']
    """

    student_reads = frozenset({"maps"})
    teacher_reads = frozenset({"maps"})
    terms: ClassVar[Mapping[str, float]] = {"feature": 5.0}
    least_batch = _LEAST_IMAGES
    criteria: Tensor

    def __init__(
        self,
        pair: Pair,
        *,
        ratio: Literal["dynamic"] | Annotated[float, Ge(0), Le(1)] = "dynamic",
        momentum: Rate = 0.9,
        stages: Stages = "deepest",
        normalize_target: bool = True,
        depth: Annotated[int, Ge(1)] = 2,
        width: Annotated[int, Ge(1)] | None = None,
        heads: Annotated[int, Ge(1)] = 4,
        patch: Annotated[int, Ge(1)] | None = None,
    ) -> None:
        super().__init__(pair)
        if width is not None and width % heads:
            raise ConfigError(f"method.width must be a multiple of method.heads ({heads}), got {width}.")
        if ratio != "dynamic":
            self.least_batch = 1
        self.ratio, self.momentum, self.normalize_target = ratio, momentum, normalize_target
        self.stages = pair_stages(pair, stages)
        self.hybrids = nn.ModuleList(
            HybridStage(
                (stage.student[0], stage.teacher[0]),
                stage.grid,
                patch or choose_patch(stage.grid),
                width or _choose_width(stage, heads),
                depth,
                heads,
            )
            for stage in self.stages
        )
        # For each stage the three criteria of CKA: between the networks, of the student, of the teacher.
        self.register_buffer("criteria", torch.zeros(len(self.stages), 3))

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``feature`` where it is active."""
        teacher = self.require_teacher(teacher)
        if "feature" not in self.active:
            return {}
        check_batch(student.maps[-1], self.least_batch, "CKA, by which DPK sets its ratio,")
        values = []
        for place, (stage, hybrid) in enumerate(zip(self.stages, self.hybrids, strict=True)):
            ours, theirs = (_pool(answer.maps[-stage.number], stage.grid) for answer in (student, teacher.detach()))
            predicted = hybrid(ours, theirs, self._find_share(place, ours, theirs))
            target = _normalize(theirs) if self.normalize_target else theirs
            values.append(F.mse_loss(predicted, target))
        return {"feature": torch.stack(values).mean()}

    @torch.no_grad()
    def _find_share(self, place: int, student_map: Tensor, teacher_map: Tensor) -> float | Tensor:
        """Return the share of the teacher's tokens at a stage, having taken in this batch where it is dynamic."""
        if not isinstance(self.ratio, str):
            return self.ratio
        if self.training:
            pairs = (student_map, teacher_map), (student_map, student_map), (teacher_map, teacher_map)
            found = average(torch.stack([hsic1(*maps) for maps in pairs]))
            # The factors of a running mean from 0 are the same in all three, so that they cancel.
            running = self.criteria[place] * self.momentum + found * (1 - self.momentum)
            # A step that overflows must not end the running means.
            self.criteria[place] = torch.where(found.isfinite(), running, self.criteria[place])
        between, student, teacher = self.criteria[place].unbind()
        # Features that do not vary are like no others.
        alignment = (between / (student.sqrt() * teacher.sqrt())).nan_to_num(0.0, 0.0, 0.0)
        share: Tensor = 1 - alignment.clamp(0, 1)
        return share


def _pool(feature_map: Tensor, grid: tuple[int, int]) -> Tensor:
    return feature_map if feature_map.shape[2:] == grid else F.adaptive_avg_pool2d(feature_map, grid)


def _choose_width(stage: StagePair, heads: int) -> int:
    """Return the channels of the student's map, as far as they are a multiple of the heads and not too many."""
    return max(1, min(stage.student[0], _WIDEST) // heads) * heads


def _normalize(feature_map: Tensor) -> Tensor:
    """Return a map with mean 0 and variance 1 over the channels of each position."""
    return F.layer_norm(feature_map.movedim(1, -1), feature_map.shape[1:2]).movedim(-1, 1)
