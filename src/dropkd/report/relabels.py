"""Labels that the method has changed: how many in each epoch, and from which class to which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from dropkd.report.run_record import RunRecord

__all__ = ["RelabelRow", "Relabels", "describe_relabels"]

_MOST_PAIRS = 8

_Change = tuple[int, int, int]


@dataclass(frozen=True)
class RelabelRow:
    """A frequent change of label: from a class to a class, so many times."""

    before: str
    after: str
    count: int


@dataclass(frozen=True)
class Relabels:
    """The changed labels of a run.

    Args:
        images: training images that were relabelled at least once.
        changes: all changes.
        epochs: (epoch counted from 1, changes after it).
        pairs: the most frequent changes.
    """

    images: int
    changes: int
    epochs: tuple[tuple[int, int], ...]
    pairs: tuple[RelabelRow, ...]


def describe_relabels(run: RunRecord) -> Relabels | None:
    """Return what the log says of changed labels, or None where none were changed."""
    by_epoch = [(event["epoch"] + 1, list(_read_changes(event))) for event in run.log.relabels]
    changes = [change for _, found in by_epoch for change in found]
    if not changes:
        return None
    pairs = Counter((before, after) for _, before, after in changes).most_common(_MOST_PAIRS)
    return Relabels(
        images=len({index for index, _, _ in changes}),
        changes=len(changes),
        epochs=tuple((epoch, len(found)) for epoch, found in by_epoch if found),
        pairs=tuple(RelabelRow(run.class_name(b), run.class_name(a), count) for (b, a), count in pairs),
    )


def _read_changes(event: object) -> Iterator[_Change]:
    """Yield (index, before, after) of each change; a column that is no list of whole numbers gives none."""
    columns = [event.get(name) if isinstance(event, dict) else None for name in ("index", "before", "after")]
    if not all(isinstance(column, list) and all(type(value) is int for value in column) for column in columns):
        return
    yield from zip(*(column or [] for column in columns), strict=False)
