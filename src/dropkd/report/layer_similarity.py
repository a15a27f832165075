"""Heat maps of how alike the layers of two networks are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropkd.errors import RunError
from dropkd.report.rendering import write_page
from dropkd.report.wording import count

__all__ = ["HeatMap", "Similarity", "describe_similarity", "read_similarity", "write_similarity_page"]

_SHADES = 9


@dataclass(frozen=True)
class HeatCell:
    """A value as text, and its shade 0-9."""

    text: str
    shade: int


@dataclass(frozen=True)
class HeatRow:
    """A layer and its values."""

    name: str
    cells: tuple[HeatCell, ...]


@dataclass(frozen=True)
class HeatMap:
    """A table of values by layer and layer.

    Args:
        title: what it shows.
        row_title: whose layers the rows are.
        column_title: whose the columns are.
        columns: their names.
        rows: the values.
    """

    title: str
    row_title: str
    column_title: str
    columns: tuple[str, ...]
    rows: tuple[HeatRow, ...]


@dataclass(frozen=True)
class Similarity:
    """What the page says: in words, as one or two maps, and how it was measured."""

    text: str
    maps: tuple[HeatMap, ...]
    note: str


def read_similarity(folder: Path) -> Similarity | None:
    """Return what ``dropkd cka`` kept in a run folder; None where it was not asked, or what it kept can't be read."""
    try:
        return describe_similarity(json.loads((folder / "cka.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_similarity_page(found: Mapping[str, Any], path: Path) -> Path:
    """Write a page about the layers of two networks and return its path.

    Raises:
        RunError: the file can't be written.
    """
    path = Path(path)
    if path.is_dir():
        raise RunError(f"{str(path)!r} is a folder; name the page, as in {str(path / 'cka.html')!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    similarity = describe_similarity(found)
    return write_page(
        path, "cka.html.j2", {"title": f"{found['second']} beside {found['first']}", "similarity": similarity}
    )


def describe_similarity(found: Mapping[str, Any]) -> Similarity:
    """Return how the page tells a result of :func:`dropkd.layer_similarity.compare_layers`."""
    before, after = found.get("before"), found["after"]
    maps = [] if before is None else [_draw(found, before, "Before the first step")]
    maps.append(_draw(found, after, "As it is" if before is None else "After training"))
    how = (
        f"Minibatch CKA, unbiased, over {count(found['images'])} {found['split']} images in batches of "
        f"{found['batch_size']}: 1 where features differ by a rotation and a scale alone, about 0 where they have "
        "nothing in common; it may lie a little below. A dash: the features do not vary."
    )
    return Similarity(_say(before, after), tuple(maps), how)


def _say(before: Sequence[Sequence[float | None]] | None, after: Sequence[Sequence[float | None]]) -> str:
    now = _average(after)
    if now is None:
        return "No two layers can be compared: their features do not vary."
    if before is None or (then := _average(before)) is None:
        return f"On average over all pairs of layers the two networks are alike by {now:.2f}."
    verb = "rose" if now > then else "fell"
    return (
        f"On average over all pairs of layers the likeness of student and teacher {verb} from {then:.2f} before "
        f"training to {now:.2f} after it. Training without a teacher changes it too: compare with a run that had "
        "none (dropkd cka PLAIN-RUN TEACHER)."
    )


def _average(values: Sequence[Sequence[float | None]]) -> float | None:
    known = [value for row in values for value in row if value is not None]
    return sum(known) / len(known) if known else None


def _draw(found: Mapping[str, Any], values: Sequence[Sequence[float | None]], title: str) -> HeatMap:
    rows = tuple(
        HeatRow(name, tuple(_shade(value) for value in row)) for name, row in zip(found["rows"], values, strict=True)
    )
    return HeatMap(title, str(found["first"]), str(found["second"]), tuple(found["columns"]), rows)


def _shade(value: float | None) -> HeatCell:
    if value is None:
        return HeatCell("-", 0)
    return HeatCell(f"{value:.2f}", round(_SHADES * min(1.0, max(0.0, value))))
