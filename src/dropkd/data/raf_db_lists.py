"""The lists of labels of RAF-DB: its own, and those that others made with known shares of wrong training labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dropkd.data.rows import RowMistakes, read_lines
from dropkd.data.wording import count_of, enumerate_some
from dropkd.errors import DataError

__all__ = ["Row", "aligned_name", "check_labels", "read_list", "read_training_labels"]

_ALIGNED = "_aligned"


@dataclass(frozen=True)
class Row:
    """A line of a list: an image, its split and its label, from 1."""

    line: int
    name: str
    label: int

    @property
    def split(self) -> str:
        """``train`` or ``test``."""
        return self.name.partition("_")[0]


def aligned_name(name: str) -> str:
    """Return the name of the aligned image of a name in the list.

    Example:
        >>> aligned_name("train_00001.jpg")
        'train_00001_aligned.jpg'
    """
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}{_ALIGNED}.{suffix}" if dot else f"{name}{_ALIGNED}.jpg"


def read_list(file: Path) -> list[Row]:
    """Return the lines of a list.

    Beside the data set's own form, ``train_00001.jpg 5``, that of SCN's authors is read: the path of the aligned image
    and a label that counts from 0. So does any list whose labels are 0 to 6.

    Raises:
        DataError: a line is of another form, or of an image that stands there twice; or there is none.
    """
    rows: list[Row] = []
    seen: dict[str, int] = {}
    mistakes = RowMistakes(file)
    for line, text in enumerate(read_lines(file), 1):
        if not text.strip():
            continue
        # From the right, since the path before the label may hold spaces.
        written, label = text.rsplit(None, 1) if len(text.split()) > 1 else (text, "")
        name = _bare_name(written.strip())
        if not label.isdecimal() or not name.startswith(("train_", "test_")) or " " in name:
            mistakes.add(line, f"must look like 'train_00001.jpg 5' or 'test_0001.jpg 5', got {text.strip()!r}")
        elif name in seen:
            mistakes.add(line, f"{name!r} stands in line {seen[name]} already")
        else:
            rows.append(Row(line, name, int(label)))
            seen[name] = line
    mistakes.check()
    if not rows:
        raise DataError(f"{str(file)!r} lists no images.")
    return rows


def _bare_name(written: str) -> str:
    """Return the name of an image as the data set's own list has it."""
    name = PurePosixPath(written.replace("\\", "/")).name
    stem, dot, suffix = name.rpartition(".")
    return f"{stem.removesuffix(_ALIGNED)}{dot}{suffix}"


def check_labels(file: Path, rows: Sequence[Row], classes: Sequence[str]) -> None:
    """Make sure that all labels are those of a class.

    Raises:
        DataError: some are not; the text names their lines.
    """
    mistakes = RowMistakes(file)
    for row in rows:
        if not 1 <= row.label <= len(classes):
            mistakes.add(row.line, f"the label of {row.name!r} must be 1 to {len(classes)}, got {row.label}")
    mistakes.check()


def read_training_labels(
    name: str, own_file: Path, own: Sequence[Row], classes: Sequence[str]
) -> tuple[Mapping[str, int], str]:
    """Return the training labels of another list by image, from 1, and a note on how many differ.

    Args:
        name: the list, as the user wrote it; it is looked for there, then beside the data set's own.
        own_file: the data set's own list.
        own: its rows.
        classes: names of the classes.

    Raises:
        DataError: there is no such list, or it is not one of these training images and classes.
    """
    file = _find_list(name, own_file)
    rows = [row for row in read_list(file) if row.split == "train"]
    counts_from_0 = any(row.label == 0 for row in rows) and all(row.label < len(classes) for row in rows)
    if counts_from_0:
        rows = [Row(row.line, row.name, row.label + 1) for row in rows]
    check_labels(file, rows, classes)
    truth = {row.name: row.label for row in own if row.split == "train"}
    labels = {row.name: row.label for row in rows}
    for names, text in (
        (truth.keys() - labels, "lacks"),
        (labels.keys() - truth, "has, but the data set's list has not,"),
    ):
        if names:
            listed = enumerate_some([repr(name) for name in sorted(names)], 5)
            raise DataError(f"{str(file)!r} {text} {count_of(len(names), 'training image')}: {listed}.")
    changed = sum(labels[name] != truth[name] for name in truth)
    share = changed / max(1, len(truth))
    note = (
        f"training labels from {file.name}{' (which count from 0)' if counts_from_0 else ''}: "
        f"{changed:,} of {len(truth):,} ({share:.1%}) are other than the data set's; "
        "validation images, which are cut from these, have them too; test labels are the data set's"
    )
    return labels, note


def _find_list(name: str, own: Path) -> Path:
    given = Path(name).expanduser()
    for file in (given, own.parent / given):
        if file.is_file():
            return file
    raise DataError(f"labels={name}: there is no such file, neither as it is written nor in {str(own.parent)!r}.")
