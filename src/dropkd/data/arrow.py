"""Tables of the Hugging Face ``datasets`` library as data sets: ``hf:NAME``, ``hf:FOLDER``, a saved folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropkd.contracts import NO_LABEL
from dropkd.data.arrow_columns import Columns, find_columns, find_image_column
from dropkd.data.arrow_opening import open_tables
from dropkd.data.arrow_splits import choose_rows
from dropkd.data.arrow_store import ArrowStore
from dropkd.data.labels import Targets
from dropkd.data.listing import WHOLE, Listing, sort_labels
from dropkd.data.source import Source
from dropkd.data.wording import count_of
from dropkd.errors import DataError

__all__ = ["list_tables", "list_unlabelled_tables"]

_OPTIONS = ("split", "train", "val", "test", "image", "label", "config", "revision")
# A class that is not known, as many test splits on the hub have it.
_UNKNOWN = -1


def list_tables(source: Source) -> Listing:
    """Return the images of a data set of ``datasets``; no image is read.

    Raises:
        DataError: it can't be opened, or its columns, classes or splits are not what training needs.
        ConfigError: an option that is none, or is out of range.
    """
    source.check_options(*_OPTIONS)
    tables = open_tables(source)
    columns = find_columns(source, _join_features(tables))
    chosen, notes = choose_rows(source, {name: len(table) for name, table in tables.items()})
    root = source.path if source.path.exists() else Path(f"hf:{source.place}")
    own = list(dict.fromkeys(name for rows in chosen.values() for name in rows))
    labels = {name: _read_labels(source, tables[name], columns) for name in own}
    number = _number_label_sets if columns.several else _number_classes
    classes, targets = number(source, columns, labels)
    splits, places, names, target = [], [], [], []
    for split, parts in chosen.items():
        known = 0
        for name, rows in parts.items():
            kept = rows[_is_known(targets[name][rows])]
            known += len(kept)
            digits = max(6, len(str(len(tables[name]))))
            splits += [split] * len(kept)
            places.append(np.stack([np.full(len(kept), own.index(name)), kept], axis=1))
            names += [root / name / f"{row:0{digits}}" for row in kept.tolist()]
            target.append(targets[name][kept])
        notes += _note_unknown(split, sum(map(len, parts.values())), known)
    if not names:
        raise DataError(f"{source.text!r}: no row has a class, the column {columns.label!r} is empty or -1 throughout.")
    store = ArrowStore(
        [_take_images(tables[name], columns.image, columns.kind) for name in own], columns.kind, np.concatenate(places)
    )
    listing = Listing.of_stored(
        root, classes, names, splits, np.concatenate(target), store, notes=(*columns.notes, *notes)
    )
    return listing.leave_out_empty_classes().require_classes()


def list_unlabelled_tables(source: Source) -> Listing:
    """Return the images of a data set of ``datasets`` but for those of val and test; no class is read.

    Raises:
        DataError: it can't be opened, or has no column of images.
        ConfigError: an option that is none, or is out of range.
    """
    source.check_options(*_OPTIONS)
    tables = open_tables(source)
    image, kind = find_image_column(source, _join_features(tables))
    chosen, notes = choose_rows(source, {name: len(table) for name, table in tables.items()})
    root = source.path if source.path.exists() else Path(f"hf:{source.place}")
    wanted = {**chosen.get("train", {}), **chosen.get(WHOLE, {})}
    places = [np.stack([np.full(len(rows), number), rows], axis=1) for number, rows in enumerate(wanted.values())]
    digits = {name: max(6, len(str(len(tables[name])))) for name in wanted}
    names = [root / name / f"{row:0{digits[name]}}" for name, rows in wanted.items() for row in rows.tolist()]
    store = ArrowStore([_take_images(tables[name], image, kind) for name in wanted], kind, np.concatenate(places))
    target = np.full(len(names), NO_LABEL, np.int64)
    return Listing.of_stored(root, (), names, [WHOLE] * len(names), target, store, notes=notes)


def _join_features(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of all splits; a test split may lack the classes."""
    features: dict[str, Any] = {}
    for table in tables.values():
        for name, feature in table.features.items():
            features.setdefault(name, feature)
    return features


def _take_images(table: Any, column: str, kind: str) -> Any:
    import datasets

    if column not in table.features:
        raise DataError(f"a split has no column {column!r}; it has: {', '.join(table.features)}.")
    images = table.select_columns([column])
    if type(images.features[column]).__name__ == "Image":
        # Undecoded: the bytes as they lie on disk.
        images = images.cast_column(column, datasets.Image(decode=False))
    return images.with_format("numpy" if kind == "array" else None)


def _read_labels(source: Source, table: Any, columns: Columns) -> list[Any]:
    """Return the class of each row as the table has it; None where it is not known."""
    name = columns.label
    if name not in table.features:
        return [None] * len(table)
    feature = table.features[name]
    own = getattr(feature.feature if columns.several else feature, "names", None)
    if columns.names is not None and own not in (None, list(columns.names)):
        raise DataError(f"{source.text!r}: the splits do not have the same classes in the column {name!r}.")
    values: list[Any] = table.select_columns([name]).with_format("arrow")[:].column(name).to_pylist()
    return values


def _number_classes(
    source: Source, columns: Columns, labels: Mapping[str, list[Any]]
) -> tuple[tuple[str, ...], dict[str, Targets]]:
    """Return the names of the classes, and the number of each row's by table."""
    if columns.names is not None:
        targets: dict[str, Targets] = {
            name: np.array([_UNKNOWN if v is None else v for v in own], np.int64) for name, own in labels.items()
        }
        for name, values in targets.items():
            wrong = np.flatnonzero((values < _UNKNOWN) | (values >= len(columns.names)))
            if wrong.size:
                raise DataError(
                    f"{source.text!r}: row {wrong[0]} of {name!r} has the class {values[wrong[0]]}, but there are only "
                    f"{len(columns.names)} classes ({count_of(wrong.size, 'such row')})."
                )
        return columns.names, targets
    # A split of nothing but -1 has no classes; elsewhere -1 may be one.
    texts = {name: ["" if v is None else str(v).strip() for v in own] for name, own in labels.items()}
    texts = {name: [""] * len(own) if set(own) == {str(_UNKNOWN)} else own for name, own in texts.items()}
    classes = sort_labels({text for own in texts.values() for text in own if text})
    numbers = {"": _UNKNOWN, **{text: k for k, text in enumerate(classes)}}
    return classes, {name: np.array([numbers[text] for text in own], np.int64) for name, own in texts.items()}


def _number_label_sets(
    source: Source, columns: Columns, labels: Mapping[str, list[Any]]
) -> tuple[tuple[str, ...], dict[str, Targets]]:
    """Return the names of the classes, and by table (N, K) of 0 and 1; rows of a table without labels are -1."""
    known = {name: own for name, own in labels.items() if any(row is not None for row in own)}
    if columns.names is not None:
        classes = columns.names
        places: Mapping[Any, int] = {number: number for number in range(len(classes))}
    else:
        classes = sort_labels({str(label).strip() for own in known.values() for row in own for label in row or ()})
        places = {label: number for number, label in enumerate(classes)}
    targets: dict[str, Targets] = {}
    for name, own in labels.items():
        marks = np.full((len(own), len(classes)), _UNKNOWN, np.float32)
        for number, row in enumerate(own if name in known else ()):
            marks[number] = 0
            for label in row or ():
                key = label if columns.names is not None else str(label).strip()
                if key not in places:
                    raise DataError(
                        f"{source.text!r}: row {number} of {name!r} has the class {label!r}, but there are only "
                        f"{len(classes)} classes."
                    )
                marks[number, places[key]] = 1
        targets[name] = marks
    return classes, targets


def _is_known(targets: Targets) -> NDArray[np.bool_]:
    return np.asarray((targets if targets.ndim == 1 else targets[:, 0]) != _UNKNOWN, np.bool_)


def _note_unknown(split: str, rows: int, known: int) -> list[str]:
    if rows == known:
        return []
    if not known:
        return [f"{split} has no classes ({count_of(rows, 'row')}) and is left out"]
    where = "" if split == "all" else f" of {split}"
    return [f"{count_of(rows - known, 'row')}{where} without a class {'is' if rows - known == 1 else 'are'} left out"]
