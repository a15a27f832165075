"""Bring two feature maps onto one grid."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from dropkd.errors import ModelError

__all__ = ["check_grids", "pool_to_common_grid"]

# Strides round each side up or down on its own: a side of 1 in one grid may be 2 in the other, but not much more.
_LARGEST_STRETCH = 3.0


def pool_to_common_grid(student_map: Tensor, teacher_map: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool two maps of the same images to the smaller height and the smaller width of both.

    Args:
        student_map: (B, C, H, W).
        teacher_map: (B, C', H', W').

    Returns:
        (B, C, min(H, H'), min(W, W')) and (B, C', min(H, H'), min(W, W')).

    Raises:
        ModelError: the maps are not 4-dimensional, of other batch sizes, or of grids of unlike proportions.
    """
    student, teacher = tuple(student_map.shape), tuple(teacher_map.shape)
    if len(student) != 4 or len(teacher) != 4 or student[0] != teacher[0]:
        raise ModelError(
            f"feature maps must be (B, C, H, W) of one batch, got {student} of the student, {teacher} of the teacher."
        )
    check_grids(student[1:], teacher[1:])
    grid = (min(student[2], teacher[2]), min(student[3], teacher[3]))
    return _pool(student_map, grid), _pool(teacher_map, grid)


def check_grids(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    """Raise ModelError where two maps (C, H, W) can't be of the same images seen whole."""
    if min(*student, *teacher) < 1:
        raise ModelError(f"feature maps must not be empty, got {student} of the student, {teacher} of the teacher.")
    stretch = (student[1] * teacher[2]) / (student[2] * teacher[1])
    if not 1 / _LARGEST_STRETCH <= stretch <= _LARGEST_STRETCH:
        raise ModelError(
            f"the student's map (C, H, W) = {student} and the teacher's {teacher} can't be aligned: "
            "their heights and widths are in unlike proportions. "
            "Choose other layers by student.map_modules or teacher.map_modules."
        )


def _pool(feature_map: Tensor, grid: tuple[int, int]) -> Tensor:
    return feature_map if feature_map.shape[2:] == grid else F.adaptive_avg_pool2d(feature_map, grid)
