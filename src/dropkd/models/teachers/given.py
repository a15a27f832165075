"""Teachers that are given themselves instead of being named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dropkd.models.source_lists import join_sources
from dropkd.models.teachers.logits_only import as_module

__all__ = ["Given", "TeacherLike", "Teachers", "as_given", "count_teachers", "name_teachers"]

# What names a teacher, or is one.
TeacherLike = str | Path | nn.Module | Callable[[Tensor], Any]
# Several, from each of which the student learns by terms of its own.
Teachers = TeacherLike | Sequence[TeacherLike]
# A teacher, or several, at least one of which is not only named.
Given = nn.Module | tuple[str | nn.Module, ...]


def count_teachers(teacher: Teachers) -> int:
    """Return how many teachers a list has; anything else is one."""
    return len(teacher) if isinstance(teacher, Sequence) and not isinstance(teacher, str) else 1


def as_given(teacher: Teachers | None) -> Given | None:
    """Return what is given itself, functions as modules; None where all is named."""
    if not isinstance(teacher, Sequence) or isinstance(teacher, str):
        return as_module(teacher)
    members = [as_module(member) or str(member) for member in teacher]
    return None if all(isinstance(member, str) for member in members) else tuple(members)


def name_teachers(teacher: Teachers) -> str:
    """Return the source of what is named; of what is given itself, what to call it."""
    if isinstance(teacher, Sequence) and not isinstance(teacher, str):
        names = [name_teachers(member) for member in teacher]
        return join_sources(names)
    if isinstance(teacher, (str, Path)):
        return str(teacher)
    return getattr(teacher, "__name__", type(teacher).__name__)
