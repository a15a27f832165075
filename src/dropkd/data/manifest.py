"""Manifests: a CSV or parquet table with a row for each image, of its path, its label or labels, perhaps its split."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropkd.contracts import NO_LABEL
from dropkd.data.label_tables import LabelForm, find_label_form, join_list
from dropkd.data.listing import SPLIT_NAMES, WHOLE, Listing, sort_labels
from dropkd.data.rows import RowMistakes, read_lines
from dropkd.data.source import Source
from dropkd.data.wording import count_of, enumerate_some
from dropkd.errors import DataError, did_you_mean

__all__ = ["MANIFEST_SUFFIXES", "list_manifest", "list_unlabelled_manifest", "read_header"]

MANIFEST_SUFFIXES = (".csv", ".parquet")
_NEEDED = ("path", "label")
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class _Table:
    """The columns of a manifest that count, as text; None and the empty text are both "missing"."""

    unit: str
    numbers: Sequence[int]
    columns: dict[str, list[str]]
    ignored: Sequence[str]
    form: LabelForm | None = None

    def __iter__(self) -> Iterator[tuple[int, str, str]]:
        """Yield the number, the path and the split of each row."""
        splits = self.columns.get("split", [WHOLE] * len(self.numbers))
        if not any(splits):
            splits = [WHOLE] * len(self.numbers)
        return iter(zip(self.numbers, self.columns["path"], splits, strict=True))

    def read_labels(self) -> tuple[list[list[str]], dict[int, list[str]]]:
        """Return the labels of each row, and what is wrong with them by the place of the row."""
        if self.form is None:
            labels = self.columns["label"]
            return [[label] for label in labels], {k: ["the label is missing"] for k, x in enumerate(labels) if not x}
        cells = list(zip(*(self.columns[name] for name in self.form.columns), strict=True))
        rows, mistakes = self.form.read(cells)
        wrong: dict[int, list[str]] = {}
        for place, words in mistakes:
            wrong.setdefault(place, []).append(words)
        return rows, wrong


def list_manifest(source: Source) -> Listing:
    """Return the images of a manifest; paths start from its folder.

    The columns ``path`` and ``label`` are needed, ``split`` (train, val, test) is optional, others are ignored.
    Classes are sorted by name, or by value where all are whole numbers. Images have several labels where there is a
    column ``labels`` in place of ``label``, or the options ``labels`` or ``classes`` say so; see
    :func:`dropkd.data.label_tables.find_label_form`.

    Raises:
        DataError: the table can't be read, or rows lack something, name a file twice or lead out of the folder.
        ConfigError: an option that there isn't, or that names a column that there isn't.
    """
    source.check_options("labels", "classes")
    file = source.path
    read = _read_parquet if file.suffix.lower() == ".parquet" else _read_csv
    table = read(file, source=source)
    root, mistakes = file.parent, RowMistakes(file, table.unit)
    found: list[tuple[Path, str, list[str]]] = []
    seen: dict[str, int] = {}
    labels, wrong = table.read_labels()
    for place, (number, text, split) in enumerate(table):
        problems, name = _check_path(text), "/".join(_parts(text))
        if name in seen and not problems:
            problems.append(f"{text!r} stands in {table.unit} {seen[name]} already")
        seen.setdefault(name, number)
        problems += wrong.get(place, [])
        problems += [] if split == WHOLE or split.lower() in SPLIT_NAMES else [_refuse_split(split)]
        for problem in problems:
            mistakes.add(number, problem)
        if not problems:
            found.append((root / name, SPLIT_NAMES.get(split.lower(), WHOLE), labels[place]))
    mistakes.check()
    if not found:
        raise DataError(f"{str(file)!r} lists no images.")
    listed = table.form.classes if table.form is not None else None
    classes = listed or sort_labels({label for *_, names in found for label in names})
    if not classes:
        raise DataError(f"{str(file)!r} gives no image a label.")
    numbers = {label: k for k, label in enumerate(classes)}
    notes = [f"ignored columns of the manifest: {enumerate_some(table.ignored, 5)}"] if table.ignored else []
    if table.form is None:
        rows = ((path, split, numbers[names[0]]) for path, split, names in found)
        return Listing.of_files(root, classes, rows, notes=notes).require_classes()
    marked = ((path, split, [numbers[label] for label in names]) for path, split, names in found)
    return Listing.of_label_sets(root, classes, marked, notes=notes).require_classes()


def list_unlabelled_manifest(source: Source) -> Listing:
    """Return the images of a manifest but for those of val and test; it needs no labels, and they are not read.

    Raises:
        DataError: the table can't be read, or rows lack a path, name a file twice or lead out of the folder.
        ConfigError: there are no options.
    """
    source.check_options()
    file = source.path
    read = _read_parquet if file.suffix.lower() == ".parquet" else _read_csv
    table = read(file, needed=("path",))
    root, mistakes = file.parent, RowMistakes(file, table.unit)
    splits = table.columns.get("split", [""] * len(table.numbers))
    paths: list[Path] = []
    seen: dict[str, int] = {}
    held = 0
    for number, text, split in zip(table.numbers, table.columns["path"], splits, strict=True):
        problems, name = _check_path(text), "/".join(_parts(text))
        if name in seen and not problems:
            problems.append(f"{text!r} stands in {table.unit} {seen[name]} already")
        seen.setdefault(name, number)
        for problem in problems:
            mistakes.add(number, problem)
        is_held = SPLIT_NAMES.get(split.lower()) in ("val", "test")
        held += is_held
        if not problems and not is_held:
            paths.append(root / name)
    mistakes.check()
    notes = [f"left out {count_of(held, 'image')} of val and test"] if held else []
    return Listing.of_files(root, (), ((path, WHOLE, NO_LABEL) for path in paths), notes=notes)


def read_header(file: Path) -> list[str]:
    """Return the names of a CSV file's columns, in lower case; empty where it can't be read."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return [name.strip().lower() for name in next(csv.reader(lines), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _read_csv(file: Path, needed: Sequence[str] = _NEEDED, source: Source | None = None) -> _Table:
    reader = csv.reader(read_lines(file), strict=True)
    numbers: list[int] = []
    rows: list[list[str]] = []
    mistakes = RowMistakes(file)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        form = find_label_form(source, header) if source is not None else None
        places = _find_columns(file, header, needed if form is None else ("path", *form.columns))
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                mistakes.add(reader.line_num, f"must have {len(header)} cells as the first line has, got {len(cells)}")
                continue
            numbers.append(reader.line_num)
            rows.append([cells[k].strip() for k in places.values()])
    except csv.Error as error:
        raise DataError(f"{str(file)!r}, line {reader.line_num}: {error}.") from error
    mistakes.check()
    columns = {name: [row[k] for row in rows] for k, name in enumerate(places)}
    return _Table("line", numbers, columns, [name for name in header if name not in places], form)


def _read_parquet(file: Path, needed: Sequence[str] = _NEEDED, source: Source | None = None) -> _Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
        header = schema.names
        names = [name.strip().lower() for name in header]
        lists = [name for name, field in zip(names, schema, strict=True) if _holds_lists(field.type)]
        form = find_label_form(source, names, lists) if source is not None else None
        places = _find_columns(file, names, needed if form is None else ("path", *form.columns))
        table = pq.read_table(file, columns=[header[k] for k in places.values()])
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"can't read the parquet file {str(file)!r}: {str(error).strip()}") from error
    columns = {name: _as_text(table.column(header[k]).to_pylist()) for name, k in places.items()}
    ignored = [name for k, name in enumerate(header) if k not in places.values()]
    return _Table("row", range(1, table.num_rows + 1), columns, ignored, form)


def _holds_lists(kind: Any) -> bool:
    import pyarrow as pa

    return any(is_list(kind) for is_list in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _find_columns(file: Path, header: Sequence[str], needed: Sequence[str]) -> dict[str, int]:
    """Return the places of the columns that count."""
    columns = (*needed, "split")
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise DataError(f"{str(file)!r} has {header.count(twice[0])} columns {twice[0]!r}. Keep one.")
    missing = [name for name in needed if name not in header]
    if missing:
        if len(header) == 1 and re.search(r"[;\t|]", header[0]):
            raise DataError(f"{str(file)!r}: commas must stand between the columns, the first line is {header[0]!r}.")
        raise DataError(
            f"{str(file)!r} has no column {missing[0]!r}. A manifest has the columns path, label and perhaps split"
            f"{'; ' if 'label' in needed else ' (unlabelled images need no label); '}"
            f"this one has: {enumerate_some(header, 10) or 'none'}.{did_you_mean(missing[0], header)}"
        )
    return {name: header.index(name) for name in columns if name in header}


def _as_text(values: Iterable[Any]) -> list[str]:
    def say(value: Any) -> str:
        if isinstance(value, list):
            return join_list(value)
        if value is None or value != value:
            return ""
        # A column of whole numbers with gaps comes as floats.
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()

    return [say(value) for value in values]


def _parts(text: str) -> list[str]:
    return [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]


def _check_path(text: str) -> list[str]:
    if not text:
        return ["the path is missing"]
    if text.startswith(("/", "\\")) or _DRIVE.match(text):
        return [f"the path must start from the manifest's folder, got {text!r}"]
    if ".." in _parts(text) or "\0" in text:
        return [f"the path must stay in the manifest's folder, got {text!r}"]
    return []


def _refuse_split(split: str) -> str:
    return f"the split must be train, val or test, got {split!r}" if split else "the split is missing"
