"""Variational information distillation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.functional.grids import pool_to_common_grid
from dropkd.functional.hints import vid_loss, vid_variance
from dropkd.functional.precision import full_precision
from dropkd.methods.method import Method
from dropkd.methods.stages import Stages, pair_stages

__all__ = ["VID", "Predictor"]

# vid_variance adds as much to what is trained, so that a variance stays above 0.
_LEAST_VARIANCE = 1e-5


class Predictor(nn.Module):
    """Predicts a normal distribution of the teacher's map from the student's: a mean and a variance per channel.

    Args:
        student: channels of the student's map.
        teacher: channels of the teacher's map.
        variance: where the variances start.
    """

    def __init__(self, student: int, teacher: int, variance: float = 5.0) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Conv2d(student, teacher, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher, teacher, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher, teacher, 1, bias=False),
        )
        # The inverse of vid_variance: log(exp(v) - 1), written so that a large v does not overflow.
        start = variance - _LEAST_VARIANCE
        self.log_scale = nn.Parameter(torch.full((teacher,), start + math.log(-math.expm1(-start))))

    def forward(self, student_map: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean (B, C, H, W) and the variance (C,) of the teacher's map."""
        mean: Tensor = self.mean(student_map)
        return mean, vid_variance(self.log_scale)


class VID(Method):
    r"""The student learns to predict the teacher's maps, and of each channel how well it can be predicted.

    Equation:
        L = \sum_l \overline{\frac{1}{2} \left[ \frac{(\mu_l(F^s_l) - F^t_l)^2}{\sigma_c^2} + \log \sigma_c^2 \right]}
        \sigma_c^2 = \log(1 + e^{\alpha_c}) + 10^{-5}

        F_l is the map at stage l, of the student (s) and the teacher (t), the larger one pooled to the grid of the
        smaller; the bar is the mean over images, channels and positions; mu and alpha are trained.

    Terms:
        information: negative log-likelihood of the teacher's maps under the predicted normal distributions, without
            the constant, summed over stages; weight 1, that of the CIFAR-100 benchmarks, beside a cross-entropy of
            weight 1. Below 0 where variances are small.

    Trains:
        for each stage three 1x1 convolutions without biases, with ReLUs between them (S x T + 2 T x T weights for maps
        of S and T channels), and a variance for each of the T channels: 16,240 parameters for
        cifar_resnet56 -> cifar_resnet20.

    Args:
        pair: the shapes of student and teacher.
        initial_variance: where the variance of each channel starts.
        stages: pairs of maps that are compared: deepest, all (paired from the deep end), or how many from the
            deep end.

    Note:
        The variances are trained, as in the paper and in the code that the published CIFAR-100 numbers come from. A
        later benchmark leaves them out of the optimiser, so that they stay at 5.

    References:
        Ahn, Hu, Damianou, Lawrence, Dai, "Variational Information Distillation for Knowledge Transfer", CVPR 2019.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "vid")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'information']
    """

    student_reads = frozenset({"maps"})
    teacher_reads = frozenset({"maps"})
    terms: ClassVar[Mapping[str, float]] = {"information": 1.0}

    def __init__(
        self, pair: Pair, *, initial_variance: Annotated[float, Ge(0.001)] = 5.0, stages: Stages = "all"
    ) -> None:
        super().__init__(pair)
        self.stages = pair_stages(pair, stages)
        self.predictors = nn.ModuleList(
            Predictor(stage.student[0], stage.teacher[0], initial_variance) for stage in self.stages
        )

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``information`` where it is active."""
        teacher = self.require_teacher(teacher)
        if "information" not in self.active:
            return {}
        values = []
        for stage, predictor in zip(self.stages, self.predictors, strict=True):
            ours, theirs = pool_to_common_grid(student.maps[-stage.number], teacher.maps[-stage.number])
            mean, variance = predictor(ours)
            values.append(vid_loss(mean, theirs, variance))
        return {"information": torch.stack(values).sum()}
