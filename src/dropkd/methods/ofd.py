"""Overhaul of feature distillation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.checks import check_batch
from dropkd.functional.grids import pool_to_common_grid
from dropkd.functional.hints import ofd_loss, ofd_margin
from dropkd.functional.precision import full_precision
from dropkd.methods.method import Method
from dropkd.methods.processes import average
from dropkd.methods.stages import StagePair, Stages, pair_stages

__all__ = ["OFD", "Connector"]

# Share of negative values below which a mean over them is worth nothing, as for the margins of batch norms.
_RARE = 0.001


class Connector(nn.Module):
    """Predicts a map of the teacher before its activation from one of the student, and knows the teacher's margins.

    Args:
        stage: the two maps.
        norm: weight and bias (C,) of the batch norm before the teacher's activation; where None the margins are
            estimated from the first maps that are seen.
    """

    margin: Tensor
    is_known: Tensor

    def __init__(self, stage: StagePair, norm: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        channels = stage.teacher[0]
        self.conv = nn.Conv2d(stage.student[0], channels, 1, bias=False)
        nn.init.normal_(self.conv.weight, std=math.sqrt(2 / channels))
        self.bn = nn.BatchNorm2d(channels)
        self.register_buffer("margin", torch.zeros(channels) if norm is None else ofd_margin(*norm).clone())
        self.register_buffer("is_known", torch.tensor(norm is not None))
        # Whether is_known has to be asked, which makes a GPU wait: once, and again when a state has been loaded.
        self._asks = norm is None
        if norm is None:
            self.register_load_state_dict_post_hook(_ask_again)  # type: ignore[no-untyped-call]

    def forward(self, student_map: Tensor, teacher_map: Tensor) -> Tensor:
        """Return the distance of the predicted map from the teacher's on their common grid."""
        margin = self.find_margin(teacher_map)
        student_map, teacher_map = pool_to_common_grid(student_map, teacher_map)
        return ofd_loss(self.bn(self.conv(student_map)), teacher_map, margin)

    def find_margin(self, teacher_map: Tensor) -> Tensor:
        """Return the margin (C,) of each channel, estimated from this map where none is known yet."""
        if self._asks:
            if not self.is_known:
                self.margin.copy_(average(_estimate_margin(teacher_map.detach())))
                self.is_known.fill_(True)
            self._asks = False
        return self.margin


def _ask_again(connector: Any, keys: object) -> None:
    connector._asks = True


def _estimate_margin(feature_map: Tensor) -> Tensor:
    """Return for each channel the mean of its negative values, or -3 deviations where it has hardly any."""
    positions, negative = (0, 2, 3), feature_map < 0
    count = negative.sum(dim=positions)
    mean = feature_map.clamp(max=0).sum(dim=positions) / count.clamp(min=1)
    deviation = feature_map.std(dim=positions, correction=0)
    return torch.where(count > _RARE * negative[:, 0].numel(), mean, -3 * deviation)


class OFD(Method):
    r"""The student learns to predict the teacher's maps before their activation, where that changes what comes out.

    Equation:
        L = \sum_l \frac{1}{2^{n-1-l}} \cdot \frac{1}{B} \sum_{i,c,h,w}
            \mathbb{1}[s > \tilde{t} \, \lor \, \tilde{t} > 0] \, (s - \tilde{t})^2
        \tilde{t} = \max(t, m_c), \quad s = \mathrm{BN}(W * F^s_l), \quad m_c = \mathrm{E}[t_c \mid t_c < 0]

        F^s_l and t are the maps of student and teacher before their activation at stage l of n, the deepest being
        n - 1, the larger one pooled to the grid of the smaller; W is 1 x 1; m_c is the margin of channel c; B is the
        number of images.

    Terms:
        feature: squared distance of the predicted maps from the teacher's raised to their margins, summed over
            channels and positions, each stage with half the weight of the next; weight 1/1000, that of the authors for
            CIFAR-100, beside a cross-entropy of weight 1.

    Trains:
        for each stage a connector, one 1x1 convolution and a batch norm: 5,600 parameters for
        cifar_resnet56 -> cifar_resnet20.

    Args:
        pair: the shapes of student and teacher, and the batch norms before the teacher's activations.
        stages: pairs of maps that are compared: deepest, all (paired from the deep end), or how many from the
            deep end.

    Note:
        Margins come from the batch norm right before the teacher's activation, as the expected negative value of a
        normal distribution; where less than one in a thousand is negative it is -3 deviations, not the mean less 3
        deviations, as in the authors' code. Where there is no such norm (transformers, residual streams), they are the
        means of the teacher's negative values in the first batch, over all processes, and are saved with the method.

        The authors and the benchmarks run the teacher in training mode, so that it normalises by the batch and its
        statistics drift. Here it is in evaluation mode, as everywhere, so that its answers can be cached.

        Where the student's grid is the larger one, its map is pooled before the connector; the benchmarks always pool
        the teacher's.

        The term is a sum over channels and positions, so it grows with them: on ImageNet the authors weigh it by
        1/10000 (``--set method.weights.feature=0.0001``). The maps of a transformer are large residual sums; lower the
        weight there until the term is about as large as the cross-entropy.

        Batch norm wants two values of a channel, so a batch of one image is refused where a grid has one cell.

    References:
        Heo, Kim, Yun, Park, Kwak, Choi, "A Comprehensive Overhaul of Feature Distillation", ICCV 2019.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "ofd")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'feature']
    """

    student_reads = frozenset({"preactivations"})
    teacher_reads = frozenset({"preactivations"})
    terms: ClassVar[Mapping[str, float]] = {"feature": 1e-3}

    def __init__(self, pair: Pair, *, stages: Stages = "all") -> None:
        super().__init__(pair)
        self.stages = pair_stages(pair, stages)
        norms = pair.teacher_norms
        self.connectors = nn.ModuleList(Connector(s, norms[-s.number] if norms else None) for s in self.stages)
        if any(stage.grid == (1, 1) for stage in self.stages):
            self.least_batch = 2

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``feature`` where it is active."""
        teacher = self.require_teacher(teacher)
        if "feature" not in self.active:
            return {}
        if self.training:
            check_batch(student.preactivations[-1], self.least_batch, "OFD on a grid of one cell")
        values = []
        for place, (stage, connector) in enumerate(zip(self.stages, self.connectors, strict=True)):
            maps = (answer.preactivations[-stage.number] for answer in (student, teacher))
            values.append(connector(*maps) / 2**place)
        return {"feature": torch.stack(values).sum()}
