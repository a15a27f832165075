"""FER2013: one CSV file that holds faces of 48 x 48 grey pixels as text."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.listing import SPLITS, WHOLE, Listing
from dropkd.data.rows import RowMistakes
from dropkd.data.source import Source
from dropkd.errors import DataError

__all__ = ["is_fer2013", "list_fer2013"]

# In the order of the labels, which start from 0.
_CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
_SIDE = 48
_USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
_COUNTS = {"train": 28_709, "val": 3_589, "test": 3_589}


def is_fer2013(header: Sequence[str]) -> bool:
    """Tell whether a table is FER2013 by the names of its columns, in lower case."""
    return {"emotion", "pixels"} <= set(header)


def list_fer2013(source: Source) -> Listing:
    """Return the faces of FER2013: PublicTest is the validation split and PrivateTest the test split.

    Raises:
        DataError: a row lacks something, or its label or pixels are out of range.
        ConfigError: there are no options.
    """
    source.check_options()
    file, mistakes = source.path, RowMistakes(source.path)
    faces: dict[str, list[NDArray[np.uint8]]] = {}
    labels: dict[str, list[int]] = {}
    for line, emotion, text, usage in _read_rows(file, mistakes):
        pixels, split = _read_pixels(text), _USAGES.get(usage, WHOLE)
        if not emotion.isdecimal() or int(emotion) >= len(_CLASSES):
            mistakes.add(line, f"the emotion must be 0 to {len(_CLASSES) - 1}, got {emotion!r}")
        elif usage and split == WHOLE:
            mistakes.add(line, f"Usage must be {', '.join(_USAGES)}, got {usage!r}")
        elif pixels is None:
            mistakes.add(line, f"the pixels must be {_SIDE * _SIDE} numbers from 0 to 255, got {text[:20]!r} and so on")
        else:
            faces.setdefault(split, []).append(pixels)
            labels.setdefault(split, []).append(int(emotion))
    mistakes.check()
    if not faces:
        raise DataError(f"{str(file)!r} lists no faces.")
    if len(faces) > 1 and WHOLE in faces:
        raise DataError(f"{str(file)!r}: {len(faces[WHOLE]):,} rows have no Usage, but others have one.")
    parts = [
        (split, np.stack(faces[split]).reshape(-1, _SIDE, _SIDE), np.array(labels[split], np.int64))
        for split in (*SPLITS, WHOLE)
        if split in faces
    ]
    return Listing.of_pixels(file.parent, _CLASSES, parts, notes=_make_notes(faces)).require_classes()


def _read_rows(file: Path, mistakes: RowMistakes) -> Iterator[tuple[int, str, str, str]]:
    """Yield line, emotion, pixels and Usage of each row, one at a time, since the file is large."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines)
            header = [name.strip().lower() for name in next(reader)]
            places = [header.index(name) if name in header else None for name in ("emotion", "pixels", "usage")]
            for cells in reader:
                if cells and len(cells) != len(header):
                    mistakes.add(reader.line_num, f"must have {len(header)} cells, got {len(cells)}")
                elif cells:
                    emotion, pixels, usage = ("" if k is None else cells[k].strip() for k in places)
                    yield reader.line_num, emotion, pixels, usage
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"can't read {str(file)!r} as CSV in UTF-8: {error}.") from error


def _read_pixels(text: str) -> NDArray[np.uint8] | None:
    try:
        with warnings.catch_warnings():
            # What can't be read to its end is short.
            warnings.simplefilter("ignore", DeprecationWarning)
            values = np.fromstring(text, np.int64, sep=" ")
    except ValueError:
        return None
    if len(values) != _SIDE * _SIDE or values.min() < 0 or values.max() > 255:
        return None
    return values.astype(np.uint8)


def _make_notes(faces: dict[str, list[NDArray[np.uint8]]]) -> list[str]:
    if WHOLE in faces:
        return []
    notes = ["PublicTest is the validation split, PrivateTest the test split"]
    counts = {split: len(faces.get(split, ())) for split in SPLITS}
    differences = [f"{s} {counts[s]:,} ({_COUNTS[s]:,})" for s in SPLITS if counts[s] != _COUNTS[s]]
    if differences:
        notes.append(f"FER2013 has other numbers of faces than published (in brackets): {', '.join(differences)}")
    return notes
