"""What methods that compare the positions of a map ask of its grid."""

from __future__ import annotations

from collections.abc import Sequence

from dropkd.errors import ModelError
from dropkd.methods.stages import StagePair

__all__ = ["check_positions"]


def check_positions(stages: Sequence[StagePair], name: str) -> None:
    """Raise ModelError where no pair of maps has more than one cell, since then the loss is 0 whatever they hold.

    Args:
        stages: the pairs that are to be compared.
        name: of the method, for the message.

    Raises:
        ModelError: each common grid is of one cell.

    Example:
        >>> check_positions([StagePair(1, (8, 1, 1), (4, 1, 1)), StagePair(2, (8, 2, 2), (4, 2, 2))], "AT")
    """
    if all(stage.grid == (1, 1) for stage in stages):
        shapes = ", ".join(f"{stage.student} with {stage.teacher}" for stage in stages)
        raise ModelError(
            f"{name} compares the positions of feature maps, but the maps (C, H, W) to compare, of the student with "
            f"those of the teacher, share grids of one cell only: {shapes}. Compare more of them by method.stages, or "
            "choose other layers by student.map_modules or teacher.map_modules."
        )
