"""Which of a teacher's classes stand for which class of the data, from a table."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

from dropkd.errors import ConfigError, did_you_mean

__all__ = ["LabelMap", "read_label_map", "resolve_label_map"]

_COLUMNS = ("teacher", "own")
# More names than these say nothing new.
_MAX_NAMED = 10


@dataclass(frozen=True)
class _Row:
    """A line of the table.

    Args:
        place: where it stands, for messages.
        teacher: name or number of the teacher's class.
        own: name of the data's class.
    """

    place: str
    teacher: str
    own: str


@dataclass(frozen=True)
class LabelMap:
    """The teacher's classes behind each class of the data.

    Args:
        classes: the data's, in the order of the labels.
        groups: for each of them the numbers of the teacher's logits, at least one.
        teacher_classes: how many the teacher has.
    """

    classes: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    teacher_classes: int

    @property
    def unused(self) -> tuple[int, ...]:
        """Numbers of the teacher's classes that lead nowhere."""
        used = {number for group in self.groups for number in group}
        return tuple(number for number in range(self.teacher_classes) if number not in used)

    def describe(self) -> str:
        """Return in words how many classes are joined, and how many are left out."""
        unused = self.unused
        used = self.teacher_classes - len(unused)
        text = f"{used:,} of the teacher's {self.teacher_classes:,} classes stand for your {len(self.classes):,}"
        if not unused:
            return f"{text}; none is left out."
        shown = f" (number {', '.join(map(str, unused))})" if len(unused) <= _MAX_NAMED else ""
        deed = "leads nowhere and is left out" if len(unused) == 1 else "lead nowhere and are left out"
        return f"{text}; {len(unused):,} {deed}{shown}."


def read_label_map(table: str | Path | Mapping[str | int, str]) -> list[_Row]:
    """Return the lines of a CSV file with the columns ``teacher`` and ``own``, or of a mapping from one to the other.

    Raises:
        ConfigError: no such file, no text, no such columns, an empty cell.
    """
    if isinstance(table, Mapping):
        return [_Row("label map", str(teacher), own) for teacher, own in table.items()]
    path = Path(table)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"There is no label map {str(path)!r}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The label map {str(path)!r} can't be read as UTF-8 text ({error}).") from None
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    found = [name.strip() for name in reader.fieldnames or ()]
    if any(name not in found for name in _COLUMNS):
        raise ConfigError(
            f"The label map {str(path)!r} must begin with a line that names the columns 'teacher' and 'own' "
            f"(teacher's class, your class), got {found}."
        )
    reader.fieldnames = found
    rows = []
    for record in reader:
        place = f"{path}, line {reader.line_num}"
        cells = {name: (record[name] or "").strip() for name in _COLUMNS}
        empty = [name for name, cell in cells.items() if not cell]
        if empty:
            raise ConfigError(f"{place}: the column {empty[0]!r} is empty.")
        rows.append(_Row(place, cells["teacher"], cells["own"]))
    if not rows:
        raise ConfigError(f"The label map {str(path)!r} has no line below its columns.")
    return rows


def resolve_label_map(
    rows: Sequence[_Row], classes: Sequence[str], teacher_classes: Sequence[str] | None, count: int
) -> LabelMap:
    """Return the map by numbers.

    Args:
        rows: of the table.
        classes: the data's class names, in the order of the labels.
        teacher_classes: the teacher's class names, where known. Those of ImageNet are known by their number: WordNet's
            number (``n01440764``), the whole description, or one of its words where no other class has it.
        count: how many classes the teacher has.

    Raises:
        ConfigError: a line for each mistake: an unknown class on either side, a teacher's class that is named twice,
            classes of the data that nothing leads to.
    """
    known = _number_names(teacher_classes, count)
    own = {name: number for number, name in enumerate(classes)}
    groups: dict[int, list[int]] = {number: [] for number in own.values()}
    first: dict[int, _Row] = {}
    mistakes = []
    for row in rows:
        if row.own not in own:
            mistakes.append(f"{row.place}: your data has no class {row.own!r}.{_suggest(row.own, own)}")
        try:
            number = _find_number(row.teacher, known, count)
        except ConfigError as error:
            mistakes.append(f"{row.place}: {error}")
            continue
        if number in first:
            other = first[number]
            mistakes.append(f"{row.place}: the teacher's {row.teacher!r} is named before ({other.place}).")
        first.setdefault(number, row)
        if row.own in own:
            groups[own[row.own]].append(number)
    named = {row.own for row in rows}
    absent = [name for name in classes if name not in named]
    if absent:
        mistakes.append(
            f"The label map leads to {len(classes) - len(absent)} of your {len(classes)} classes; no teacher's class "
            f"is named for {_list_names(absent)}."
        )
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return LabelMap(tuple(classes), tuple(tuple(groups[number]) for number in own.values()), count)


def _number_names(teacher_classes: Sequence[str] | None, count: int) -> dict[str, set[int]]:
    """Return the numbers that each known name may mean."""
    known: dict[str, set[int]] = defaultdict(set)
    for number, name in enumerate(teacher_classes or ()):
        for spelling in {name, *(word.strip() for word in name.split(","))}:
            known[spelling].add(number)
    subset = infer_imagenet_subset({"num_classes": count})
    if subset is None:
        return known
    info = ImageNetInfo(subset)
    if teacher_classes is not None and list(teacher_classes) != [info.index_to_description(n) for n in range(count)]:
        return known
    for number in range(count):
        label, description = info.index_to_label_name(number), info.index_to_description(number)
        for name in {label, description, *(word.strip() for word in description.split(","))}:
            known[name].add(number)
    return known


def _find_number(cell: str, known: Mapping[str, set[int]], count: int) -> int:
    meant = known.get(cell, set())
    if len(meant) == 1:
        return next(iter(meant))
    if meant:
        raise ConfigError(f"{cell!r} may be the teacher's class {' or '.join(map(str, sorted(meant)))}: say which.")
    if cell.isdecimal() and int(cell) < count:
        return int(cell)
    if cell.isdecimal():
        raise ConfigError(f"the teacher has {count:,} classes, numbered from 0, got {cell}.")
    if not known:
        raise ConfigError(f"the names of the teacher's {count:,} classes are not known, got {cell!r}. Use numbers.")
    raise ConfigError(f"the teacher has no class {cell!r}.{_suggest(cell, known)}")


def _suggest(word: str, known: Mapping[str, object]) -> str:
    return did_you_mean(word, known) or (f" It has {_list_names(list(known))}." if len(known) <= _MAX_NAMED else "")


def _list_names(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_MAX_NAMED]))
    return f"{shown} and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else shown
