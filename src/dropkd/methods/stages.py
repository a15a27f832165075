"""Which of the student's feature maps is compared with which of the teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from dropkd.contracts import Pair
from dropkd.errors import ConfigError, ModelError
from dropkd.functional.grids import check_grids

__all__ = ["StagePair", "Stages", "pair_stages"]

Stages = Literal["deepest", "all"] | Annotated[int, Ge(1)]

_Map = tuple[int, int, int]


@dataclass(frozen=True)
class StagePair:
    """A map of the student and the map of the teacher that it is compared with.

    Args:
        number: place from the deep end, counted from 1, so that the maps are ``maps[-number]``.
        student: (C, H, W).
        teacher: (C, H, W).
    """

    number: int
    student: _Map
    teacher: _Map

    @property
    def grid(self) -> tuple[int, int]:
        """The common grid: the smaller height and the smaller width."""
        return min(self.student[1], self.teacher[1]), min(self.student[2], self.teacher[2])


def pair_stages(pair: Pair, stages: Stages) -> list[StagePair]:
    """Return the pairs of maps that are compared, from the deep end: the last with the last, and so on.

    Args:
        pair: the shapes of student and teacher.
        stages: ``deepest``: the last map of each. ``all``: as many pairs as the network with fewer maps has maps.
            A number: as many of these.

    Raises:
        ModelError: a network has no maps, or two maps can't be aligned.
        ConfigError: more stages are wanted than there are.

    Example:
        >>> from dropkd.contracts import Shapes
        >>> cnn, vit = Shapes(10, ((16, 8, 8), (32, 4, 4)), 32), Shapes(10, ((24, 7, 7),) * 4, 24)
        >>> [(stage.student, stage.teacher, stage.grid) for stage in pair_stages(Pair(cnn, vit, 10), "all")]
        [((32, 4, 4), (24, 7, 7), (4, 4)), ((16, 8, 8), (24, 7, 7), (7, 7))]
    """
    student, teacher = pair.student.maps, pair.teacher.maps if pair.teacher else ()
    for side, maps in (("student", student), ("teacher", teacher)):
        if not maps:
            raise ModelError(
                f"the {side} gives no feature maps. Name the layers by {side}.map_modules, "
                "or choose a method of logits such as kd."
            )
    depth = min(len(student), len(teacher))
    wanted = {"deepest": 1, "all": depth}[stages] if isinstance(stages, str) else stages
    if wanted > depth:
        raise ConfigError(
            f"method.stages is {wanted}, but the student gives {len(student)} and the teacher {len(teacher)} feature "
            f"maps: at most {depth} pairs. Name more layers by student.map_modules or teacher.map_modules."
        )
    for number in range(1, wanted + 1):
        check_grids(student[-number], teacher[-number])
    return [StagePair(number, student[-number], teacher[-number]) for number in range(1, wanted + 1)]
