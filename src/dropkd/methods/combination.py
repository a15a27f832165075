"""Several methods at once: ``kd+at`` has the terms of both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from dropkd.contracts import Batch, LabelChange, Outputs, Pair
from dropkd.errors import ConfigError
from dropkd.methods.method import Method

__all__ = ["Combined", "combine"]

_View = tuple[str, int]


class Combined(Method):
    """Several methods trained together, each with its own terms; made by :func:`combine`.

    A term is called ``METHOD_TERM``, as in ``kd_logit``. Each method sees the views that it asks for; the
    cross-entropy sees those that any of them labels, with the least of their weights, so that a method that brings a
    cross-entropy of its own does not get a second one.

    Args:
        pair: the shapes of student and teacher.
        options: the options of each method, by its name.

    Raises:
        ConfigError: two of the methods change the labels.
    """

    parts: ClassVar[Mapping[str, type[Method]]] = {}

    def __init__(self, pair: Pair, *, options: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        super().__init__(pair)
        given = options or {}
        built = {name: cls(pair, **given.get(name, {})) for name, cls in self.parts.items()}
        self.methods = nn.ModuleDict(built)
        # What a method reads, wants to see and needs at least may depend on its options and on the pair.
        self.student_reads = _unite(method.student_reads for method in built.values())
        self.teacher_reads = _unite(method.teacher_reads for method in built.values())
        self.least_batch = max(method.least_batch for method in built.values())
        self.reads_index = any(method.reads_index for method in built.values())
        views, self.labelled_views = _unite_views(built.values())
        self.views = tuple(kind for kind, _ in views)
        self._places = {name: [views.index(view) for view in _number_views(m.views)] for name, m in built.items()}
        self._relabels = [name for name, method in built.items() if method.changes_labels]
        if len(self._relabels) > 1:
            raise ConfigError(f"{' and '.join(self._relabels)} both change the labels: combine only one of them.")

    def _list_parts(self) -> list[tuple[str, Method]]:
        return [(name, self._part(name)) for name in self.parts]

    def _part(self, name: str) -> Method:
        return cast(Method, self.methods[name])

    def restrict_terms(self, names: Collection[str]) -> None:
        """Compute these terms only from now on, each by its method."""
        super().restrict_terms(names)
        for name, method in self._list_parts():
            method.restrict_terms([term for term in method.terms if f"{name}_{term}" in self.active])

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the active terms of all methods."""
        terms = {}
        for name, method in self._list_parts():
            pick = self._make_picker(name)
            theirs = None if teacher is None else pick(teacher.split(len(self.views)), Outputs.join)
            ours = pick(student.split(len(self.views)), Outputs.join)
            found = method(ours, theirs, pick(batch.split(len(self.views)), _join_batches))
            terms.update({f"{name}_{term}": value for term, value in found.items()})
        return terms

    def _make_picker(self, name: str) -> Callable[[Sequence[Any], Callable[[list[Any]], Any]], Any]:
        """Return a function that takes from all views those of a method, in its order."""
        places = self._places[name]

        def pick(views: Sequence[Any], join: Callable[[list[Any]], Any]) -> Any:
            chosen = [views[place] for place in places]
            return chosen[0] if len(chosen) == 1 else join(chosen)

        return pick

    @property
    def changes_labels(self) -> bool:
        """Whether one of the methods does."""
        return bool(self._relabels)

    def targets(self, batch: Batch) -> Tensor:
        """Return the labels of the method that changes them, or those of the batch."""
        return self._part(self._relabels[0]).targets(batch) if self._relabels else super().targets(batch)

    @classmethod
    def warmup_of(cls, term: str) -> float:
        """Return the epochs over which a term rises to its weight, as its method has it."""
        own = {f"{name}_{inner}": (part, inner) for name, part in cls.parts.items() for inner in part.terms}
        part, inner = own[term]
        return part.warmup_of(inner)

    def end_epoch(self, epoch: int) -> Sequence[LabelChange]:
        """Let each method end the epoch."""
        return list(chain.from_iterable(method.end_epoch(epoch) for _, method in self._list_parts()))

    def deploy(self, student: nn.Module) -> nn.Module:
        """Return the student as all methods leave it, one after another."""
        for _, method in self._list_parts():
            student = method.deploy(student)
        return student


def combine(parts: Mapping[str, type[Method]]) -> type[Combined]:
    """Return a method that has the terms of several.

    Args:
        parts: the methods by the names that users call them.

    Example:
        >>> from dropkd.methods.kd import KD
        >>> from dropkd.methods.plain import Plain
        >>> dict(combine({"kd": KD, "plain": Plain}).terms)
        {'kd_logit': 1.0}
    """
    classes = list(parts.values())
    names = " and ".join(parts)
    attributes: dict[str, Any] = {
        "__doc__": f"The terms of {names} together.\n\nArgs:\n    pair: the shapes of student and teacher.\n"
        "    options: the options of each method, by its name.\n",
        "__module__": __name__,
        "parts": dict(parts),
        "student_reads": _unite(cls.student_reads for cls in classes),
        "teacher_reads": _unite(cls.teacher_reads for cls in classes),
        "terms": {f"{name}_{term}": weight for name, cls in parts.items() for term, weight in cls.terms.items()},
        "label_space_terms": frozenset(f"{n}_{term}" for n, cls in parts.items() for term in cls.label_space_terms),
        "single_label_terms": frozenset(
            f"{n}_{term}" for n, cls in parts.items() for term in set(cls.terms) - cls.find_multi_label_terms()
        ),
        "views": tuple(kind for kind, _ in _unite_views(classes)[0]),
        "labelled_views": _unite_views(classes)[1],
        "cross_entropy_weight": min(cls.cross_entropy_weight for cls in classes),
        "reads_index": any(cls.reads_index for cls in classes),
        "least_batch": max(cls.least_batch for cls in classes),
    }
    return type("+".join(cls.__name__ for cls in classes), (Combined,), attributes)


def _unite(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset(chain.from_iterable(sets))


def _number_views(views: Sequence[str]) -> list[_View]:
    """Return each kind of view with how often it came before, so that two independent views stay two."""
    return [(kind, views[:place].count(kind)) for place, kind in enumerate(views)]


def _unite_views(methods: Iterable[Method | type[Method]]) -> tuple[list[_View], int]:
    """Return every view that a method wants, those that any of them labels first, and how many are labelled."""
    wanted = [(_number_views(method.views), method.labelled_views) for method in methods]
    labelled = list(dict.fromkeys(view for views, count in wanted for view in views[:count]))
    others = dict.fromkeys(view for views, _ in wanted for view in views if view not in labelled)
    return [*labelled, *others], len(labelled)


def _join_batches(views: Sequence[Batch]) -> Batch:
    soft = [view.soft_target for view in views if view.soft_target is not None]
    return Batch(
        torch.cat([view.target for view in views]),
        torch.cat([view.index for view in views]),
        views[0].epoch,
        torch.cat(soft) if soft else None,
    )
