"""Findings about classes: how many images each has, where one is missing, names that are spelt two ways."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from dropkd.data.check.findings import Finding, Item
from dropkd.data.check.subject import Subject
from dropkd.data.check.tree import Tree
from dropkd.data.wording import count_of

__all__ = ["find_odd_classes", "same_name"]

# Fewer training images than this teach a class by heart.
_FEW = 10
# From here on, accuracy says little about the small classes.
_UNEVEN = 10.0
_BETWEEN_WORDS = re.compile(r"(?<=[^\W_])[\s_\-]+(?=[^\W_])")


def find_odd_classes(subject: Subject, tree: Tree | None) -> Iterator[Finding]:
    """Yield what is odd about the classes and their numbers of images."""
    empty = [] if tree is None else [name for _, name in tree.empty]
    yield from _find_spellings({*subject.listing.classes, *empty})
    counts = {name: subject.count(name) for name in subject.split_names}
    needed = {name: count for name, count in counts.items() if subject.listing.needs_classes(name)}
    yield from _find_missing(subject.listing.classes, needed, tree)
    train = counts.get("train")
    if train is not None and train.any():
        yield from _find_uneven(subject.listing.classes, train)


def same_name(name: str) -> str:
    """Return what is left of a name without case, ways of spelling a space, and ways of encoding a letter.

    Example:
        >>> same_name("Golden_Retriever") == same_name("golden retriever")
        True
        >>> same_name("-1") == same_name("1")
        False
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return _BETWEEN_WORDS.sub(" ", folded).strip()


def _find_spellings(names: Iterable[str]) -> Iterator[Finding]:
    spellings: dict[str, list[str]] = {}
    for name in sorted(names):
        spellings.setdefault(same_name(name), []).append(name)
    twice = [found for found in spellings.values() if len(found) > 1]
    if twice:
        items = tuple(Item(f"{' and '.join(map(repr, found))}: {_say_difference(found)}") for found in twice)
        yield Finding(
            "same-name", "error", f"{count_of(len(twice), 'class name')} spelt in more than one way",
            "Each spelling is a class of its own. Give them one name.", items,
        )  # fmt: skip


def _say_difference(names: list[str]) -> str:
    composed = {unicodedata.normalize("NFC", name) for name in names}
    if len(composed) == 1:
        return "look the same, but are other Unicode characters"
    if len({name.casefold() for name in composed}) == 1:
        return "differ in upper and lower case alone"
    return "differ in case, spaces, hyphens or underscores alone"


def _find_missing(
    classes: tuple[str, ...], counts: dict[str, NDArray[np.int64]], tree: Tree | None
) -> Iterator[Finding]:
    everywhere = sum(counts.values(), np.zeros(len(classes), np.int64))
    items = [
        Item(f"{classes[k]!r} has no image in {split}, but {count_of(int(everywhere[k]), 'image')} elsewhere")
        for split, found in counts.items()
        if split != "all"
        for k in np.flatnonzero((found == 0) & (everywhere > 0))
    ]
    empty = [] if tree is None else sorted({name for _, name in tree.empty}.difference(classes))
    if items:
        yield Finding(
            "missing-class", "error", f"{_classes(len(items))} missing in a split",
            "Each split needs images of each class; else training refuses the data.", tuple(items),
        )  # fmt: skip
    if empty:
        yield Finding(
            "empty-class", "error", f"{_classes(len(empty))} without any image",
            "Training would leave them out and only note it. Fill or remove the folders.",
            tuple(Item(repr(name)) for name in empty),
        )  # fmt: skip
    if len(classes) < 2:
        what = f"one class, {classes[0]!r}" if classes else "no class"
        yield Finding("one-class", "error", f"there is {what}; a classifier needs two at least")


def _classes(number: int) -> str:
    return f"{number:,} class" if number == 1 else f"{number:,} classes"


def _find_uneven(classes: tuple[str, ...], train: NDArray[np.int64]) -> Iterator[Finding]:
    few = np.flatnonzero((train > 0) & (train < _FEW))
    if few.size:
        yield Finding(
            "few-images", "warning", f"{_classes(few.size)} with fewer than {_FEW} training images",
            "What is learned of so few is learned by heart.",
            tuple(Item(f"{classes[k]!r} has {train[k]}") for k in few),
        )  # fmt: skip
    least, most = int(train[train > 0].min()), int(train.max())
    if most / least > _UNEVEN:
        title = f"the largest class has {most / least:.0f} times as many training images as the smallest"
        yield Finding(
            "uneven", "warning", title,
            "Look at UAR beside accuracy; --class-weights and --sampling help small classes.",
            (Item(f"{classes[int(train.argmax())]!r} has {most:,}"),
             Item(f"{classes[int(np.where(train > 0, train, most + 1).argmin())]!r} has {least:,}")),
        )  # fmt: skip
