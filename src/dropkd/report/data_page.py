"""The page of a checked data set."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from dropkd.report.rendering import write_page
from dropkd.report.samples import Picture
from dropkd.report.wording import count, duration, join_words, plural

if TYPE_CHECKING:
    from dropkd.data.check import DataCheck, Finding, ImageRef, Item

__all__ = ["write_data_page"]

# Cases of a finding with pictures, further ones as lines, and images of one case.
_PICTURED, _LINES, _IMAGES = 8, 200, 4
# Classes whose rows stand in the page as they are; the page's script makes rows of the others.
_MOST_WRITTEN = 300
# Words of the three levels: the heading, and what they mean.
_LEVELS = {
    "error": ("Errors", "Training would stop at these, or its figures would be wrong without a word."),
    "warning": ("Warnings", "Training runs, but look at these first."),
    "note": ("Notes", "Good to know."),
}


@dataclass(frozen=True)
class _Twin:
    """An image of a case: its picture, or None where there is none, and what it is called."""

    picture: Picture | None
    path: str
    place: str


@dataclass(frozen=True)
class _Case:
    text: str
    twins: tuple[_Twin, ...]
    more: int


@dataclass(frozen=True)
class _Section:
    """A finding as the page tells it."""

    kind: str
    level: str
    title: str
    advice: str
    cases: tuple[_Case, ...]
    lines: tuple[str, ...]
    more: int


def write_data_page(check: DataCheck, path: Path) -> Path:
    """Write a page about a checked data set and return its path; the folder of the page is made.

    Raises:
        RunError: the file can't be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_page(path, "data_check.html.j2", _describe(check))


def _describe(check: DataCheck) -> dict[str, Any]:
    groups = [
        (level, *_LEVELS[level], [_describe_finding(check, finding) for finding in found])
        for level in _LEVELS
        if (found := check.of_level(level))
    ]
    name = Path(check.data).name or check.data
    rows = [
        [_readable(label), *(count(check.counts[split][k]) for split in check.counts)]
        for k, label in enumerate(check.classes)
    ]
    return {
        "title": f"The images of {_readable(name)}",
        "place": _readable(check.data),
        "verdict": _say_verdict(check),
        "facts": _list_facts(check),
        "notes": [_readable(note) for note in check.notes],
        "groups": groups,
        "splits": list(check.counts),
        "rows": rows[:_MOST_WRITTEN],
        "rest": [{"cells": row} for row in rows[_MOST_WRITTEN:]],
        "class_count": len(rows),
        "total_name": check.total_name,
        "totals": [count(sum(counts)) for counts in check.counts.values()],
        "samples": _list_samples(check),
    }


def _say_verdict(check: DataCheck) -> tuple[str, str]:
    numbers = {level: len(check.of_level(level)) for level in _LEVELS}
    if numbers["error"]:
        parts = [plural(numbers["error"], "error")]
        parts += [plural(numbers["warning"], "warning")] if numbers["warning"] else []
        return "errors", f"{join_words(parts)}: mend the errors before training."
    if numbers["warning"]:
        return "warnings", f"No error, {plural(numbers['warning'], 'warning')}: training runs, but look at them first."
    return "clean", "Nothing stands in the way of training."


def _list_facts(check: DataCheck) -> list[tuple[str, str]]:
    facts = [("images", count(check.images)), ("classes", count(len(check.classes)))]
    if check.readable != check.images:
        facts.append(("that can\u2019t be read", count(check.images - check.readable)))
    if check.sizes is not None:
        for name, (height, width) in vars(check.sizes).items():
            facts.append((f"{name} size", f"{width} \u00d7 {height}"))
    facts += [("formats", _say_counts(check.formats))] if check.formats else []
    facts += [("colours", _say_counts(check.modes))] if check.modes else []
    near = "not looked for" if check.near is None else f"up to {check.near} of 256 bits apart"
    return [*facts, ("near duplicates", near), ("time", duration(check.seconds))]


def _say_counts(counts: Any) -> str:
    return ", ".join(f"{count(number)} {name}" for name, number in counts.items())


def _describe_finding(check: DataCheck, finding: Finding) -> _Section:
    # What can't be shown is told in lines.
    shown = any(image.path in check.pictures for item in finding.items[:_PICTURED] for image in item.images)
    pictured = finding.items[:_PICTURED] if shown else ()
    rest = finding.items[len(pictured) : len(pictured) + _LINES]
    return _Section(
        finding.kind,
        finding.level,
        _readable(finding.title),
        finding.advice,
        tuple(_describe_case(check, item) for item in pictured),
        tuple(_say_item(item) for item in rest),
        len(finding.items) - len(pictured) - len(rest),
    )


def _describe_case(check: DataCheck, item: Item) -> _Case:
    twins = tuple(
        _Twin(_embed(check.pictures.get(image.path)), _readable(image.path), _say_place(image))
        for image in item.images[:_IMAGES]
    )
    return _Case(_say_remark(item), twins, max(0, len(item.images) - _IMAGES))


def _say_item(item: Item) -> str:
    images = " = ".join(f"{_readable(image.path)} ({_say_place(image)})" for image in item.images)
    return ": ".join(part for part in (images, _say_remark(item)) if part)


def _say_remark(item: Item) -> str:
    if item.text or item.distance is None:
        return _readable(item.text)
    return f"{item.distance} of 256 bits differ"


def _say_place(image: ImageRef) -> str:
    return ", ".join(part for part in (image.split if image.split != "all" else "", _readable(image.label)) if part)


def _list_samples(check: DataCheck) -> list[tuple[str, list[tuple[Picture, str]]]]:
    rows = []
    for label, images in zip(check.classes, check.samples, strict=False):
        pictures = [(_embed(check.pictures.get(image.path)), _readable(image.path)) for image in images]
        rows.append((_readable(label), [(picture, path) for picture, path in pictures if picture is not None]))
    return [row for row in rows if row[1]]


def _embed(data: bytes | None) -> Picture | None:
    if data is None:
        return None
    with Image.open(io.BytesIO(data)) as image:
        kind = "png" if image.format == "PNG" else "jpeg"
        return Picture(f"data:image/{kind};base64,{base64.b64encode(data).decode()}", *image.size)


def _readable(text: str) -> str:
    """Return a text that can be shown: bytes of a file's name that are no text are spelt out."""
    whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in whole)
