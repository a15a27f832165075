"""Hints from a teacher's middle layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.errors import ConfigError
from dropkd.functional.hints import hint_loss
from dropkd.functional.precision import full_precision
from dropkd.methods.method import Method
from dropkd.methods.stages import StagePair, pair_stages

__all__ = ["FitNet", "Regressor"]

Hint = Literal["middle", "deepest"] | Annotated[int, Ge(1)]

_Map = tuple[int, int, int]

# A convolution over k x k positions has k^2 times the weights of one over a single position. 5 is enough where two
# grids of one scale differ by padding and rounding (16 and 14, 7 and 4); 56 to 7 would want 50, for which pooling does.
_LARGEST_KERNEL = 5


class Regressor(nn.Module):
    """Predicts a map of the teacher from one of the student: convolution, batch norm, ReLU.

    The convolution is of 1 x 1 between equal grids, 3 x 3 with stride 2 where the student's grid has twice the side,
    4 x 4 and transposed where it has half, and where it is up to 4 cells larger each way the one that leaves the
    teacher's grid without padding. Between other grids the student's map is resized first (averaged where it is
    larger, interpolated where it is smaller) and the convolution is of 1 x 1.

    Args:
        student: (C, H, W) of the student's map.
        teacher: (C, H, W) of the teacher's map.
        relu: whether it ends in a ReLU.

    Example:
        >>> Regressor((16, 8, 8), (32, 4, 4))(torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 32, 4, 4])
    """

    def __init__(self, student: _Map, teacher: _Map, relu: bool = True) -> None:
        super().__init__()
        self.grid = (teacher[1], teacher[2])
        self.conv, self.resizes = _choose_convolution(student, teacher)
        self.bn = nn.BatchNorm2d(teacher[0])
        self.relu = relu

    def forward(self, student_map: Tensor) -> Tensor:
        """Return the predicted map, of the teacher's shape."""
        if self.resizes:
            student_map = _resize(student_map, self.grid)
        predicted = self._normalize(self.conv(student_map))
        return predicted.relu() if self.relu else predicted

    def _normalize(self, values: Tensor) -> Tensor:
        if self.training and values.numel() == values.shape[1]:
            # One image on a grid of one cell has no variance; the statistics of the batches before serve it.
            return F.batch_norm(
                values, self.bn.running_mean, self.bn.running_var, self.bn.weight, self.bn.bias, eps=self.bn.eps
            )
        normalized: Tensor = self.bn(values)
        return normalized


class FitNet(Method):
    r"""The student learns to predict a map in the middle of the teacher from its own, by a regressor.

    Equation:
        L = \frac{1}{B C H W} \lVert r(F^s) - F^t \rVert_2^2

        F^s and F^t are the hinted maps of student and teacher; r is the regressor; B, C, H, W are the sizes of F^t.

    Terms:
        hint: mean squared difference of the predicted map from the teacher's; weight 100, that of the CIFAR-100
            benchmarks, beside a cross-entropy of weight 1.

    Trains:
        a regressor of one convolution and a batch norm: 1,120 parameters for cifar_resnet56 -> cifar_resnet20.

    Args:
        pair: the shapes of student and teacher.
        hint: the pair of maps, paired from the deep end: middle (of an even number the shallower of the two in the
            middle), deepest, or its place counted from the deep end.
        activation: what the regressor ends in: auto = a ReLU where the teacher's map has no negative values, relu,
            or none.

    Note:
        The benchmarks hint the second stage, be it of the three of a CIFAR ResNet or of the four of a larger network.
        ``middle`` is that stage for both, and half the depth for networks of many maps.

        They train hint and cross-entropy together, and so does this. The paper trains the hint alone first:
        ``--set method.weights.cross_entropy=0``, then a second run from that student by ``student.checkpoint``.

        The benchmarks' regressor always ends in a ReLU, which the paper wants where the hinted layer does. It could
        never reach the negative values of a transformer, or of residual sums without a last ReLU, so it is left out
        there; ``activation: relu`` is the benchmarks' for such teachers too.

        The benchmarks know grids of the same, twice or half the side, and any larger grid of the student by a
        convolution of as many positions as it is larger. Here that is so for up to 4 positions each way, as its
        weights grow with the square; otherwise the student's map is resized to the teacher's grid.

    References:
        Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets", ICLR 2015.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "fitnet")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'hint']
    """

    student_reads = frozenset({"maps"})
    teacher_reads = frozenset({"maps"})
    terms: ClassVar[Mapping[str, float]] = {"hint": 100.0}

    def __init__(
        self, pair: Pair, *, hint: Hint = "middle", activation: Literal["auto", "relu", "none"] = "auto"
    ) -> None:
        super().__init__(pair)
        self.activation = activation
        self.stage = _choose_stage(pair, hint)
        self.regressor = Regressor(self.stage.student, self.stage.teacher, relu=activation == "relu")

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``hint`` where it is active."""
        teacher = self.require_teacher(teacher)
        if "hint" not in self.active:
            return {}
        target = teacher.maps[-self.stage.number].detach()
        predicted = self.regressor(student.maps[-self.stage.number])
        if self.activation == "auto":
            # Chosen on the device, so that the step does not wait for it.
            predicted = torch.where(target.amin() < 0, predicted, predicted.relu())
        return {"hint": hint_loss(predicted, target)}


def _choose_stage(pair: Pair, hint: Hint) -> StagePair:
    stages = pair_stages(pair, "all")
    number = {"deepest": 1, "middle": len(stages) // 2 + 1}[hint] if isinstance(hint, str) else hint
    if number > len(stages):
        raise ConfigError(
            f"method.hint is {number}, but the networks have only {len(stages)} feature maps in common, counted from "
            "the deep end. Name more layers by student.map_modules or teacher.map_modules."
        )
    return stages[number - 1]


def _choose_convolution(student: _Map, teacher: _Map) -> tuple[nn.Module, bool]:
    """Return the convolution between two grids, and whether the student's map has to be resized before it."""
    (channels, *ours), (width, *theirs) = student, teacher
    if ours == [2 * side for side in theirs]:
        return nn.Conv2d(channels, width, 3, stride=2, padding=1), False
    if theirs == [2 * side for side in ours]:
        return nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1), False
    kernel = (1 + ours[0] - theirs[0], 1 + ours[1] - theirs[1])
    if min(kernel) >= 1 and max(kernel) <= _LARGEST_KERNEL:
        return nn.Conv2d(channels, width, kernel), False
    return nn.Conv2d(channels, width, 1), True


def _resize(feature_map: Tensor, grid: tuple[int, int]) -> Tensor:
    smaller = (min(feature_map.shape[2], grid[0]), min(feature_map.shape[3], grid[1]))
    averaged = F.adaptive_avg_pool2d(feature_map, smaller)
    return averaged if smaller == grid else F.interpolate(averaged, size=grid, mode="bilinear")
