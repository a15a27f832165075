"""Where teacher and student look, side by side: the section of the report, and a page of its own."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropkd.report.rendering import write_page
from dropkd.report.summary import SPLIT_NAMES
from dropkd.report.wording import count, join_words, percent, plural

__all__ = ["LookCard", "LookGroup", "Looks", "read_overlays", "write_overlays_page"]

_FOLDER, _RECORD, _LEGEND = "overlays", "overlays.json", "legend.jpg"
# What the pictures of a page may have in all, as text.
_MOST_BYTES = 1_000_000
_WAYS = {
    "gradcam": "By Grad-CAM: the brighter a place, the more the features there speak for the class.",
    "hirescam": "By HiResCAM: the brighter a place, the more the features there add to the class, to first order.",
    "occlusion": (
        "By occlusion: a square of a quarter of the image\u2019s side is covered place by place; the brighter a place, "
        "the less probable the class becomes when it is covered."
    ),
    "attention": (
        "By attention rollout: the brighter a place, the more of it reaches what the classifier reads. It says nothing "
        "of a class."
    ),
}
_ASKED = {
    "true": "What is asked about is the class that is true.",
    "answer": "What is asked about is the class that the student answers with.",
}
_ASKED_LABELS = {
    "true": "What is asked about is the label of the image that the student finds least probable; of an image without "
    "labels, the one that it finds most probable.",
    "answer": "What is asked about is the label that the student finds most probable.",
}


@dataclass(frozen=True)
class LookLine:
    """One network's map of an image, and its answer: whether that is right is None where nobody knows."""

    who: str
    uri: str | None
    alt: str
    answer: str
    sure: str
    is_right: bool | None
    asked: str


@dataclass(frozen=True)
class LookCard:
    """An image with the maps of it."""

    uri: str
    alt: str
    true: str
    asked: str
    path: str
    lines: tuple[LookLine, ...]
    agreement: str


@dataclass(frozen=True)
class LookGroup:
    """Images of one kind, and how many there are of it."""

    title: str
    text: str
    total: int
    cards: tuple[LookCard, ...]


@dataclass(frozen=True)
class Looks:
    """What the page says: in words, as images, and how it was measured."""

    title: str
    text: tuple[str, ...]
    groups: tuple[LookGroup, ...]
    notes: tuple[str, ...]
    legend: str | None


def read_overlays(run_folder: Path) -> Looks | None:
    """Return what ``dropkd explain`` kept in a run folder; None where it was not asked, or it can't be read."""
    try:
        return _describe(run_folder / _FOLDER)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_overlays_page(folder: Path) -> Path:
    """Write ``index.html`` into a folder of overlays and return its path.

    Raises:
        RunError: the file can't be written.
    """
    looks = _describe(folder)
    return write_page(folder / "index.html", "overlays.html.j2", {"title": looks.title, "looks": looks})


def _describe(folder: Path) -> Looks:
    found = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    shelf = _Shelf(folder)
    groups = tuple(_describe_group(group, shelf) for group in found["groups"])
    teacher = found["networks"].get("teacher")
    notes = [*([f"The teacher: {teacher['name']}."] if teacher else []), *found["notes"], *_say_where_read(found)]
    if shelf.left_out:
        notes.append(f"{plural(shelf.left_out, 'more image')} in the folder {folder.name}, to keep this page small.")
    text = [
        _WAYS[found["way"]],
        *([] if found["way"] == "attention" else [_say_asked(found["asked"], found["multi_label"])]),
    ]
    text += _say_agreement(found.get("agreement"), found["split"]) + _say_faithfulness(found["faithfulness"])
    student = found["networks"].get("student")
    names = [student["name"] if student else "", "its teacher" if student else "the teacher"]
    looking = join_words([name for name, network in zip(names, (student, teacher), strict=True) if network])
    return Looks(
        f"Where {looking} {'look' if student and teacher else 'looks'}",
        tuple(text),
        tuple(group for group in groups if group.cards),
        tuple(notes),
        shelf.take(_LEGEND),
    )


class _Shelf:
    """The pictures of a folder, as long as there is room for them on a page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bytes = 0
        self.left_out = 0

    def has_room(self) -> bool:
        return self.bytes < _MOST_BYTES

    def take(self, name: Any) -> str | None:
        """Return a picture as a data URI; None without a name. A name that leads out of the folder is refused."""
        if not isinstance(name, str):
            return None
        if Path(name).name != name:
            raise ValueError(f"{name!r} is no file of the folder")
        uri = f"data:image/jpeg;base64,{base64.b64encode((self.folder / name).read_bytes()).decode()}"
        self.bytes += len(uri)
        return uri


def _describe_group(group: Mapping[str, Any], shelf: _Shelf) -> LookGroup:
    cards = []
    for image in group["images"]:
        if shelf.has_room():
            cards.append(_describe_image(image, shelf))
        else:
            shelf.left_out += 1
    return LookGroup(str(group["title"]), str(group["text"]), int(group["total"]), tuple(cards))


def _describe_image(image: Mapping[str, Any], shelf: _Shelf) -> LookCard:
    true, asked = str(image["true"]), str(image["asked"])
    # The teacher stands first: what the student was to learn.
    looks = sorted(image["looks"], key=lambda look: str(look["who"]) != "teacher")
    lines = tuple(_describe_look(look, asked, shelf) for look in looks)
    agreement = "" if image["rank_correlation"] is None else _two(image["rank_correlation"])
    uri = shelf.take(image["picture"])
    if uri is None:
        raise ValueError("an image without a picture")
    return LookCard(uri, true or str(image["path"]), true, asked, str(image["path"]), lines, agreement)


def _describe_look(look: Mapping[str, Any], asked: str, shelf: _Shelf) -> LookLine:
    who = "teacher" if look["who"] == "teacher" else "student"
    where = f"{who} asked about {asked}: {look['where']}"
    sure = "" if look["probability"] is None else percent(look["probability"], 0)
    right = look["right"]
    return LookLine(
        who, shelf.take(look["picture"]), where, str(look["answer"]), sure, right if right is None else bool(right),
        percent(look["asked_probability"], 0),
    )  # fmt: skip


def _say_asked(asked: str, multi_label: bool) -> str:
    told = _ASKED_LABELS if multi_label else _ASKED
    return told.get(asked, f"What is asked about is the class \u201c{asked}\u201d.")


def _say_where_read(found: Mapping[str, Any]) -> list[str]:
    if found["way"] not in ("gradcam", "hirescam"):
        return []
    read = [f"of the {who} it is {network['read_at']}" for who, network in sorted(found["networks"].items())]
    return [f"Where the map is read: {join_words(read)}."]


def _say_agreement(agreement: Mapping[str, Any] | None, split: str) -> list[str]:
    """Say how much the two maps agree, beside maps of different images."""
    if agreement is None:
        return []
    low_high = agreement["rank_interval"]
    interval = "" if low_high is None else f" (95\u00a0% interval {_two(low_high[0])} to {_two(low_high[1])})"
    others = agreement["other_rank_correlation"]
    beside = "" if others is None else f"; maps of different images go together by {_two(others)}"
    overlap = percent(agreement["overlap"], 0)
    chance = agreement["other_overlap"]
    beside_overlap = "" if chance is None else f", those of different images by {percent(chance, 0)}"
    without = plural(agreement["without"], "further image")
    left = f" On {without} one of them sees nothing that speaks for the class." if agreement["without"] else ""
    images = plural(agreement["images"], f"{SPLIT_NAMES.get(split, split)} image")
    return [
        f"On {images} drawn at random the two maps go together by a rank correlation of "
        f"{_two(agreement['rank_correlation'])}{interval}{beside}. The fifths of the image where each looks most "
        f"overlap by {overlap} of what they cover{beside_overlap}.{left}"
    ]


def _say_faithfulness(faithfulness: Mapping[str, Any]) -> list[str]:
    """Say what covering the marked fifth costs, and of which network the map says little."""
    parts, weak, images = [], [], 0
    for who, found in sorted(faithfulness.items(), reverse=True):
        own, other = (math.exp(min(found[name], 50.0)) for name in ("own", "other"))
        parts.append(f"by {_factor(own)} for the {who} (by {_factor(other)} with another image\u2019s map)")
        images = max(images, int(found["images"]))
        if found["interval"] is None or found["interval"][0] <= 0:
            weak.append(f"the {who}")
    if not parts:
        return []
    said = (
        f"Are the maps true to their network? Covering the fifth that a map marks divides the probability of the class "
        f"{join_words(parts)}; geometric means over {plural(images, 'image')}."
    )
    if weak:
        said += (
            f" For {join_words(weak)} that is not more than with another image\u2019s map, as far as {count(images)} "
            "images tell: read little into these maps."
        )
    return [said]


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "\u2212")


def _factor(value: float) -> str:
    return f"{value:.1f}" if value < 10 else count(round(value))
