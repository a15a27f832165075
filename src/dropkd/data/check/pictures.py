"""The pictures of a check: samples of each class, and small copies of the images that a finding is about."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dropkd.data.check.findings import Finding
from dropkd.data.check.result import DataCheck
from dropkd.data.check.subject import Subject
from dropkd.data.counters import permutation, stream_key
from dropkd.data.images import Picture, decode_image

__all__ = ["choose_samples", "draw_sheet", "find_shown", "shrink_pictures"]

# Longest side of a small copy.
_SIDE = 96
# Below this a picture is kept exactly (PNG).
_EXACT_SIDE = 64
# How many cases of a finding are shown with pictures, and how many images of a case.
_CASES, _IMAGES = 8, 4
# How many classes have their samples shown.
_CLASSES = 60
_CELL, _NAME_WIDTH, _GAP = 72, 180, 4


def choose_samples(subject: Subject, readable: NDArray[np.bool_], each: int, seed: int) -> list[list[int]]:
    """Return some images of each class, of the training split where there is one, picked by the seed."""
    first = subject.split == subject.split_names[0] if len(subject) else readable
    target = subject.listing.target
    chosen = []
    for k in range(min(len(subject.listing.classes), _CLASSES)):
        rows = np.flatnonzero(readable & first & ((target == k) if target.ndim == 1 else (target[:, k] > 0)))
        order = permutation(stream_key(seed, k), len(rows))[:each]
        chosen.append(sorted(rows[order].tolist()))
    return chosen


def find_shown(findings: Iterable[Finding]) -> set[str]:
    """Return the paths of the images that are shown with findings."""
    return {
        image.path for finding in findings for item in islice(finding.items, _CASES) for image in item.images[:_IMAGES]
    }


def shrink_pictures(subject: Subject, rows: Iterable[int]) -> dict[str, bytes]:
    """Return small copies of images as PNG or JPEG, by path; those that can't be read are left out."""
    small: dict[str, bytes] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        for i in rows:
            try:
                pixels = subject.pixels
                image = decode_image(subject.read(i)) if pixels is None else Image.fromarray(pixels[i])
            except Exception:  # noqa: S112 - it is told as unreadable already
                continue
            small[subject.listing.relative[i]] = _encode(image)
    return small


def draw_sheet(check: DataCheck) -> Picture:
    """Return a contact sheet of a check: a line for each class with its name and its samples."""
    lines = [(name, row) for name, row in zip(check.classes, check.samples, strict=False) if row]
    widest = max((len(row) for _, row in lines), default=1)
    size = (_NAME_WIDTH + widest * (_CELL + _GAP), max(1, len(lines)) * (_CELL + _GAP))
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for line, (name, row) in enumerate(lines):
        top = line * (_CELL + _GAP)
        shown = "".join(c if c.isprintable() else "?" for c in name)
        pen.text((6, top + _CELL // 2 - 8), shown if len(shown) <= 24 else f"{shown[:22]}...", "black", font)
        for place, image in enumerate(image for image in row if image.path in check.pictures):
            small = Image.open(io.BytesIO(check.pictures[image.path])).convert("RGB")
            factor = _CELL / max(small.size)
            small = small.resize((max(1, round(small.width * factor)), max(1, round(small.height * factor))))
            sheet.paste(small, (_NAME_WIDTH + place * (_CELL + _GAP), top))
    return sheet


def _encode(image: Picture) -> bytes:
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    if max(image.size) <= _EXACT_SIDE:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
