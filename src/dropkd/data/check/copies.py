"""Findings about copies: the same image twice, in two splits, with two labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dropkd.data.check.findings import Finding, Item
from dropkd.data.check.looks import Looks
from dropkd.data.check.subject import Subject
from dropkd.data.check.twins import NearCopies, NearPair
from dropkd.data.wording import count_of

__all__ = ["find_copies", "find_near_copies"]

_LEAK = "The test measures what was learned by heart. Take them out of all splits but one."
_NEAR_LEAK = "Look at them: copies make the test too good. Keep near images in one split."


def find_copies(groups: Sequence[NDArray[np.int64]], looks: Looks, subject: Subject) -> Iterator[Finding]:
    """Yield groups of images that are the same to the pixel: across splits, with several labels, others."""
    across = [group for group in groups if _differ(subject.split_codes, group)]
    labels = [group for group in groups if _differ(subject.label_codes, group)]
    told = {int(group[0]) for group in (*across, *labels)}
    rest = [group for group in groups if int(group[0]) not in told]

    def tell(found: Sequence[NDArray[np.int64]], kind: str, level: str, title: str, advice: str) -> Iterator[Finding]:
        if found:
            items = tuple(_make_item(group, looks, subject) for group in found)
            yield Finding(kind, level, f"{count_of(len(found), 'image')} {title}", advice, items)

    yield from tell(across, "same-across-splits", "error", "there in more than one split", _LEAK)
    yield from tell(
        labels, "same-with-other-label", "warning", "there with more than one label", "One of the labels is wrong."
    )
    yield from tell(
        rest, "same-in-split", "warning", "there more than once in a split", "They count more than others; keep one."
    )


def find_near_copies(near: NearCopies, subject: Subject) -> Iterator[Finding]:
    """Yield pairs of images that look alike, across splits or with other labels, and groups within a split."""
    codes, labels, pairs = subject.split_codes, subject.label_codes, near.pairs
    across = [pair for pair in pairs if codes[pair.first] != codes[pair.second]]
    others = [pair for pair in pairs if labels[pair.first] != labels[pair.second]]

    def tell(found: Sequence[NearPair], kind: str, title: str, advice: str) -> Iterator[Finding]:
        if found:
            items = tuple(
                Item("", (subject.refer(pair.first), subject.refer(pair.second)), pair.distance)
                for pair in sorted(found, key=lambda pair: (pair.distance, pair.first, pair.second))
            )
            title = f"{count_of(len(found), 'pair')} of images that look alike {title}"
            yield Finding(kind, "warning", title, advice, items)

    yield from tell(across, "near-across-splits", "lie in different splits", _NEAR_LEAK)
    yield from tell(others, "near-with-other-label", "have different labels", "Look at them: a label may be wrong.")
    inside = [part for group in near.groups for part in _part_by_split(group, codes)]
    if inside:
        widest = _widest_distances(near)
        items = tuple(Item("", tuple(subject.refer(i) for i in group), widest[group[0]]) for group in inside)
        yield Finding(
            "near-in-split", "note", f"{count_of(len(inside), 'group')} of images that look alike within a split",
            "They count more than others.", items,
        )  # fmt: skip


def _part_by_split(group: Sequence[int], codes: NDArray[np.int64]) -> list[list[int]]:
    """Return the images of a group by split, where a split has several."""
    parts: dict[int, list[int]] = {}
    for i in group:
        parts.setdefault(int(codes[i]), []).append(i)
    return [part for part in parts.values() if len(part) > 1]


def _widest_distances(near: NearCopies) -> dict[int, int]:
    """Return for each image of a group the largest distance of one of the group's images to its nearest."""
    place = {i: k for k, group in enumerate(near.groups) for i in group}
    widest = [0] * len(near.groups)
    for pair in near.pairs:
        widest[place[pair.first]] = max(widest[place[pair.first]], pair.distance)
    return {i: widest[k] for i, k in place.items()}


def _differ(codes: NDArray[np.int64], group: NDArray[np.int64]) -> bool:
    return bool((codes[group] != codes[group[0]]).any())


def _make_item(group: NDArray[np.int64], looks: Looks, subject: Subject) -> Item:
    same_bytes = bool((looks.content[group] == looks.content[group[0]]).all())
    text = "the same file" if same_bytes else "the same pixels"
    return Item(text, tuple(subject.refer(int(i)) for i in group), 0)
