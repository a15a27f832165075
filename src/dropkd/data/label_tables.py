"""Manifests whose images have several labels: one column that lists them, or one column of 0 and 1 for each class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dropkd.data.rows import read_lines
from dropkd.data.source import Source
from dropkd.data.wording import enumerate_some
from dropkd.errors import ConfigError, did_you_mean

__all__ = ["LIST_END", "LabelForm", "find_label_form", "join_list"]

# What stands behind each item of a list that comes out of a parquet file; no label holds ASCII's unit separator.
LIST_END = "\x1f"
_SEPARATORS = (LIST_END, ";", "|", ",")
_YES_NO = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


@dataclass(frozen=True)
class LabelForm:
    """In which columns the labels of a manifest stand.

    Args:
        columns: names of the columns, in lower case: one that lists labels, or one for each class.
        classes: names of the classes in the order of the logits; None where they are those that the list holds.
        in_list: whether it is one column that lists them.
    """

    columns: tuple[str, ...]
    classes: tuple[str, ...] | None
    in_list: bool

    def read(self, cells: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[tuple[int, str]]]:
        """Return the labels of each row by name, and what is wrong by the place of the row.

        Args:
            cells: for each row the text of each column.
        """
        read = self._read_lists if self.in_list else self._read_marks
        return read(cells)

    def _read_lists(self, cells: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[tuple[int, str]]]:
        # One separator for the whole column, so that a label may hold the others.
        separator = next((s for s in _SEPARATORS if any(s in row[0] for row in cells)), ";")
        rows, mistakes = [], []
        for place, (text,) in enumerate(cells):
            labels = [label.strip() for label in text.split(separator)]
            labels = [label for label in labels if label]
            if text.startswith("[") and text.endswith("]"):
                mistakes.append((place, f"labels must be written as in cat;dog, got {text!r}"))
            if self.classes is not None:
                labels, unknown = self._find(labels)
                mistakes += [(place, words) for words in unknown]
            rows.append(list(dict.fromkeys(labels)))
        return rows, mistakes

    def _find(self, labels: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the classes that labels name, by name or by number from 0, and what is wrong with the others."""
        classes = self.classes or ()
        has_numbers = any(map(_is_number, classes))
        found, mistakes = [], []
        for label in labels:
            if label in classes:
                found.append(label)
            elif has_numbers or not _is_number(label):
                mistakes.append(f"unknown label {label!r}.{did_you_mean(label, classes)}")
            elif 0 <= int(label) < len(classes):
                found.append(classes[int(label)])
            else:
                mistakes.append(f"label {label} is out of range: there are {len(classes)} classes, numbered from 0")
        return found, mistakes

    def _read_marks(self, cells: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[tuple[int, str]]]:
        rows, mistakes = [], []
        for place, row in enumerate(cells):
            labels = []
            for name, text in zip(self.classes or (), row, strict=True):
                if text.lower() not in _YES_NO:
                    mistakes.append((place, f"{name!r} must be 0 or 1, {f'got {text!r}' if text else 'it is empty'}"))
                elif _YES_NO[text.lower()]:
                    labels.append(name)
            rows.append(labels)
        return rows, mistakes


def find_label_form(source: Source, header: Sequence[str], lists: Sequence[str] = ()) -> LabelForm | None:
    """Return where the several labels of a manifest stand, or None where each image has one.

    Args:
        source: with ``labels=COLUMN``, ``classes=NAMES`` or ``classes=FILE``, or neither.
        header: names of all columns, in lower case.
        lists: names of those that hold lists.

    Raises:
        ConfigError: an option names a column that is not there.
        DataError: the file of classes can't be read or names one twice.
    """
    named, wanted = source.options.get("labels"), source.options.get("classes")
    classes = None if wanted is None else _read_classes(source, wanted)
    if named is not None:
        if named.lower() not in header:
            raise ConfigError(
                f"{source.text!r}: there is no column {named!r} in {source.path.name}. It has: "
                f"{enumerate_some(header, 10)}.{did_you_mean(named, header)}"
            )
        return LabelForm((named.lower(),), classes, True)
    if classes is not None and not all(name.lower() in header for name in classes) and "labels" not in header:
        absent = next(name for name in classes if name.lower() not in header)
        raise ConfigError(
            f"{source.text!r}: the class {absent!r} has no column in {source.path.name}, and no column is called "
            f"'labels'. It has: {enumerate_some(header, 10)}.{did_you_mean(absent.lower(), header)}"
        )
    if classes is not None and all(name.lower() in header for name in classes):
        return LabelForm(tuple(name.lower() for name in classes), classes, False)
    if "labels" in header and ("label" not in header or classes is not None):
        return LabelForm(("labels",), classes, True)
    return LabelForm(("label",), None, True) if "label" in lists else None


def join_list(value: Sequence[object]) -> str:
    """Return the text that stands for a list; that of an empty one is empty."""
    return "".join(f"{item}{LIST_END}" for item in value if item is not None)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]+", text) is not None


def _read_classes(source: Source, wanted: str) -> tuple[str, ...]:
    """Return the names in an option ``a,b,c``, or the lines of the file that it names."""
    places = (source.path.parent / wanted, Path(wanted).expanduser())
    file = next((place for place in places if _is_file(place)), None)
    if file is None and "," not in wanted:
        raise ConfigError(
            f"{source.text!r}: classes={wanted} is no file, neither beside the manifest nor in the working folder, and "
            "no list of classes as in classes=cat,dog."
        )
    texts = wanted.split(",") if file is None else read_lines(file)
    names = [text.strip() for text in texts if text.strip()]
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None or not names:
        what = f"names {twice!r} twice" if twice is not None else "names no class"
        raise ConfigError(f"{source.text!r}: classes={wanted} {what}.")
    return tuple(names)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # A list of names that is too long for a path, say.
        return False
