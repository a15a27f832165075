"""A method once for each member of an ensemble: ``logit_1`` learns from the first, ``logit_2`` from the second."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from dropkd.contracts import Batch, LabelChange, Outputs, Pair, Shapes
from dropkd.errors import ConfigError
from dropkd.methods.method import Method

__all__ = ["PerTeacher", "per_teacher"]


class PerTeacher(Method):
    """One method for each of several teachers, with projectors and a memory of its own; made by :func:`per_teacher`.

    A term is called ``TERM_NUMBER``, numbered from 1 in the order of the teachers. Its default weight is the method's
    own over the number of teachers, so that all of them together weigh what one alone does.

    Args:
        pair: student and ensemble; ``pair.members`` pairs the student with each teacher.
        options: of the method, the same for all.

    Raises:
        ConfigError: the method learns from no teacher, changes the labels, or wants other views for one teacher than
            for another.
    """

    part: ClassVar[type[Method]] = Method
    count: ClassVar[int] = 0

    def __init__(self, pair: Pair, *, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(pair)
        name = self.part.__name__
        if not self.part.teacher_reads:
            raise ConfigError(f"{name} learns from no teacher, so teacher.each gives it nothing to do.")
        built = [self.part(member, **(options or {})) for member in pair.members]
        if any(method.changes_labels for method in built):
            raise ConfigError(f"{name} changes the labels, which it can't do for each teacher (teacher.each).")
        if len({(method.views, method.labelled_views) for method in built}) > 1:
            raise ConfigError(f"{name} wants other views of an image for one of these teachers than for another.")
        self.methods = nn.ModuleList(built)
        # What a method reads and needs at least may depend on its options and on the pair.
        self.student_reads = frozenset(chain.from_iterable(method.student_reads for method in built))
        self.teacher_reads = frozenset(chain.from_iterable(method.teacher_reads for method in built))
        self.views, self.labelled_views = built[0].views, built[0].labelled_views
        self.least_batch = max(method.least_batch for method in built)
        self.reads_index = any(method.reads_index for method in built)

    def _check_classifier(self, side: str, shapes: Shapes | None, reads: Collection[str]) -> None:
        """Each method looks at its own teacher's."""

    def _list_methods(self) -> list[tuple[int, Method]]:
        return [(number, cast(Method, method)) for number, method in enumerate(self.methods, 1)]

    def restrict_terms(self, names: Collection[str]) -> None:
        """Compute these terms only from now on, each by its method."""
        super().restrict_terms(names)
        for number, method in self._list_methods():
            method.restrict_terms([term for term in method.terms if f"{term}_{number}" in self.active])

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the active terms of all teachers."""
        members = self.require_teacher(teacher).members
        return {
            f"{term}_{number}": value
            for number, method in self._list_methods()
            if method.active
            for term, value in method(student, members[number - 1], batch).items()
        }

    @classmethod
    def warmup_of(cls, term: str) -> float:
        """Return the epochs over which a term rises to its weight, as the method has it."""
        return cls.part.warmup_of(term.rpartition("_")[0])

    def end_epoch(self, epoch: int) -> Sequence[LabelChange]:
        """Let each method end the epoch."""
        return list(chain.from_iterable(method.end_epoch(epoch) for _, method in self._list_methods()))

    def deploy(self, student: nn.Module) -> nn.Module:
        """Return the student as all methods leave it, one after another."""
        for _, method in self._list_methods():
            student = method.deploy(student)
        return student


def per_teacher(part: type[Method], count: int) -> type[PerTeacher]:
    """Return a method that has the terms of another once for each of ``count`` teachers.

    Args:
        part: the method.
        count: number of teachers.

    Example:
        >>> from dropkd.methods.kd import KD
        >>> dict(per_teacher(KD, 2).terms)
        {'logit_1': 0.5, 'logit_2': 0.5}
    """
    numbers = range(1, count + 1)
    needs_one = frozenset(part.terms) - part.find_multi_label_terms()
    attributes: dict[str, Any] = {
        "__doc__": f"{part.__name__} for each of {count} teachers.\n\nArgs:\n    pair: student and ensemble.\n"
        "    options: of the method.\n",
        "__module__": __name__,
        "part": part,
        "count": count,
        "student_reads": part.student_reads,
        "teacher_reads": part.teacher_reads,
        "terms": {f"{term}_{number}": weight / count for number in numbers for term, weight in part.terms.items()},
        "label_space_terms": frozenset(f"{term}_{number}" for number in numbers for term in part.label_space_terms),
        "single_label_terms": frozenset(f"{term}_{number}" for number in numbers for term in needs_one),
        "views": part.views,
        "labelled_views": part.labelled_views,
        "cross_entropy_weight": part.cross_entropy_weight,
        "warmup_epochs": part.warmup_epochs,
        "reads_index": part.reads_index,
        "least_batch": part.least_batch,
    }
    return type(part.__name__, (PerTeacher,), attributes)
