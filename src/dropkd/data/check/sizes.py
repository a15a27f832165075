"""Findings about single images: odd sizes and shapes, and ways of storing that the rest does not share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from dropkd.data.check.findings import Finding, Item
from dropkd.data.check.looks import Looks
from dropkd.data.check.subject import Subject
from dropkd.data.wording import count_of

__all__ = ["find_odd_images"]

# A shorter side than this holds no picture.
_TINY_SIDE = 8
# More pixels than this decode for seconds in every epoch; from about 179 million on, Pillow refuses.
_LARGE_PIXELS = 50_000_000
# Longer sides than this many short ones are squeezed or cut to pieces by training.
_LONG_RATIO = 4.0
# Sides that are this many times the median, or this part of it.
_FAR_RATIO = 4.0


def find_odd_images(looks: Looks, subject: Subject) -> Iterator[Finding]:
    """Yield what is odd about the size or the storing of images."""
    rows = np.flatnonzero(looks.readable)
    if not rows.size:
        return
    yield from _find_odd_sizes(looks.sizes[rows].astype(np.int64), rows, subject)
    yield from _find_odd_colours(looks, rows, subject)
    yield from _find_odd_storing(looks, rows, subject)


def _find_odd_sizes(sizes: NDArray[np.int64], rows: NDArray[np.int64], subject: Subject) -> Iterator[Finding]:
    short, long = sizes.min(axis=1), sizes.max(axis=1)
    middle = float(np.median(np.sqrt(sizes.prod(axis=1))))
    side = np.sqrt(sizes.prod(axis=1))
    tiny, large = short < _TINY_SIDE, sizes.prod(axis=1) > _LARGE_PIXELS
    stretched = (long > _LONG_RATIO * short) & ~tiny
    far = ((side > _FAR_RATIO * middle) | (side * _FAR_RATIO < middle)) & ~tiny & ~large

    def tell(odd: NDArray[np.bool_], kind: str, level: str, title: str, advice: str) -> Iterator[Finding]:
        if odd.any():
            items = tuple(
                Item(f"{sizes[k, 1]} x {sizes[k, 0]}", (subject.refer(int(rows[k])),)) for k in np.flatnonzero(odd)
            )
            yield Finding(kind, level, f"{count_of(int(odd.sum()), 'image')} {title}", advice, items)

    yield from tell(
        tiny, "tiny", "warning", f"with a side below {_TINY_SIDE} pixels", "There is hardly a picture in them."
    )
    yield from tell(
        large, "very-large", "warning", f"of more than {_LARGE_PIXELS // 1_000_000} million pixels",
        "They are decoded in every epoch. Scale them down once.",
    )  # fmt: skip
    yield from tell(
        stretched, "stretched", "warning", f"more than {_LONG_RATIO:g} times as long as wide",
        "Random crops see a small part of them, the test's crop the middle.",
    )  # fmt: skip
    yield from tell(
        far, "far-size", "note", f"more than {_FAR_RATIO:g} times larger or smaller than the middle one",
        f"The median is {middle:.0f} pixels a side.",
    )  # fmt: skip


def _find_odd_colours(looks: Looks, rows: NDArray[np.int64], subject: Subject) -> Iterator[Finding]:
    grey = looks.colourless[rows]
    if grey.any() and not grey.all():
        few, what, other = (grey, "grey", "colour") if grey.mean() <= 0.5 else (~grey, "colour", "grey")
        yield Finding(
            "grey-among-colour", "note", f"{count_of(int(few.sum()), 'image')} in {what} among {other} ones",
            "Fine where both occur in all classes; else the colour gives the class away.",
            tuple(Item("", (subject.refer(int(i)),)) for i in rows[few]),
        )  # fmt: skip


def _find_odd_storing(looks: Looks, rows: NDArray[np.int64], subject: Subject) -> Iterator[Finding]:
    modes = [looks.modes[i] for i in rows]
    common = {"RGB", "L", "P", "1", Counter(modes).most_common(1)[0][0]}

    def tell(odd: Callable[[int], str], kind: str, title: str, advice: str) -> Iterator[Finding]:
        items = tuple(Item(text, (subject.refer(int(i)),)) for i in rows if (text := odd(int(i))))
        if items:
            yield Finding(kind, "note", f"{count_of(len(items), 'image')} {title}", advice, items)

    yield from tell(
        lambda i: looks.modes[i] if looks.modes[i] not in common else "", "odd-mode", "stored in another way than most",
        "Transparent pixels lie on white, 16 bits become 8, CMYK becomes RGB.",
    )  # fmt: skip
    yield from tell(
        lambda i: "turned" if looks.turned[i] else "", "turned", "to be turned, as the camera noted (EXIF)",
        "Training turns them; other programs may not.",
    )  # fmt: skip
    yield from tell(
        lambda i: f"{looks.frames[i]} frames" if looks.frames[i] > 1 and looks.formats[i] != "MPO" else "",
        "animated", "with several frames", "The first one is taken.",
    )  # fmt: skip
