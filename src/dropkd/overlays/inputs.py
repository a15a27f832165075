"""What is looked at and who looks: the images, the teacher, and what could not be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dropkd.data import ImageData, Split
from dropkd.data.split import require_split
from dropkd.engine.observer import Observer
from dropkd.engine.teachers import open_expert
from dropkd.errors import ConfigError, DataError, DropKDError
from dropkd.models import Network, open_teacher
from dropkd.run import Run

__all__ = ["Teller", "open_inputs"]


@dataclass
class Teller:
    """Tells the observer what is left out, and remembers it."""

    observer: Observer
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Tell it and remember it."""
        self.notes.append(text)
        self.observer.on_warning(text)


def open_inputs(
    opened: Run,
    student: Network,
    teacher: str | Path | None,
    files: Sequence[str | Path],
    data: str | Path | None,
    split: str | None,
    teller: Teller,
) -> tuple[Split, Network | None]:
    """Return the images and the teacher."""
    found: ImageData | None = None
    if not files:
        found = opened.open_data(data)
        _check_classes(found, student)
        splits = {part.name: part for part in found.splits}
        if split is not None:
            require_split(split, splits)
        chosen = splits[split or next(name for name in ("test", "val", "train") if name in splits)]
    else:
        if data is not None or split is not None:
            raise ConfigError("Either files of your own (--image) or a data set (--data, --split), not both.")
        chosen = _list_files(files)
    expert = _open_expert(opened, found, student, teacher, teller)
    if expert is not None and expert.shapes.logits != student.shapes.logits:
        teller.note(
            f"The teacher is left out: it knows {expert.shapes.logits} classes and the student "
            f"{student.shapes.logits}, so the two can't be asked about the same class."
        )
        return chosen, None
    return chosen, expert


def _open_expert(
    opened: Run, data: ImageData | None, student: Network, teacher: str | Path | None, teller: Teller
) -> Network | None:
    if teacher is not None:
        return open_teacher(
            str(teacher),
            num_classes=student.shapes.logits,
            image_size=student.spec.image_size,
            classes=student.spec.classes,
        )
    if opened.config.teacher is None:
        return None
    try:
        there = data if data is not None else opened.open_data()
        expert = open_expert(opened.config, there, student, None, teller.observer)
    except DropKDError as error:
        teller.note(f"The teacher is left out: it can't be opened any more ({error})")
        return None
    return expert


def _list_files(files: Sequence[str | Path]) -> Split:
    paths = tuple(Path(file) for file in files)
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"No such image: {', '.join(map(repr, missing[:10]))}.")
    return Split("files", paths, np.zeros(len(paths), np.int64))


def _check_classes(data: ImageData, student: Network) -> None:
    if data.multi_label != student.spec.multi_label or (
        student.spec.classes is not None and data.classes != student.spec.classes
    ):
        raise DataError(f"The classes of {str(data.root)!r} are not those that the student was trained on.")
