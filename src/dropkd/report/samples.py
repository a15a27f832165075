"""Sample images with the networks' answers: which are shown, and the pictures themselves as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from dropkd.errors import DataError
from dropkd.statistics.arrays import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from dropkd.data.pictures import ListedPictures

__all__ = ["WORST", "Picture", "SampleGroup", "choose_samples", "embed_picture", "pick_most"]

WORST = "Worst errors"
# Longest side of an embedded picture; 24 of them as JPEG are some 200 KB.
_LARGEST_SIDE = 160
# Below this a picture is stored exactly (PNG) and enlarged without smoothing.
_PIXEL_ART_SIDE = 64


@dataclass(frozen=True)
class Picture:
    """An embedded image, or None as ``uri`` where the file could not be read."""

    uri: str | None
    width: int
    height: int

    @property
    def is_small(self) -> bool:
        """Tell whether single pixels should stay visible."""
        return max(self.width, self.height) <= _PIXEL_ART_SIDE


@dataclass(frozen=True)
class SampleGroup:
    """Images of one kind: a heading, a sentence on how they were chosen, how many there are, and the rows shown."""

    title: str
    text: str
    total: int
    rows: tuple[int, ...]


def choose_samples(
    student_right: BoolArray, teacher_right: BoolArray | None, confidence: FloatArray, truth: FloatArray, each: int = 6
) -> list[SampleGroup]:
    """Choose what to show of the student's answers, each image once.

    Args:
        student_right: (N,) where the student is right.
        teacher_right: (N,) the same of its teacher, or None.
        confidence: (N,) probability of the student's answer.
        truth: (N,) probability that the student gives the true class.
        each: images of a group.
    """
    mistaken, sure = np.nan_to_num(confidence - truth), np.nan_to_num(confidence)
    if teacher_right is None:
        only_just = "right with the least confidence"
        return [
            _choose(WORST, "wrong, and most sure of it", ~student_right, mistaken, 2 * each),
            _choose("Right, but only just", only_just, student_right, -sure, each),
        ]
    both = "both wrong; the student\u2019s surest mistakes first"
    lost = "what was not passed on; the student\u2019s surest mistakes first"
    won = "where the student is better; its surest answers first"
    return [
        _choose(WORST, both, ~student_right & ~teacher_right, mistaken, each),
        _choose("Teacher right, student wrong", lost, teacher_right & ~student_right, mistaken, each),
        _choose("Student right, teacher wrong", won, student_right & ~teacher_right, sure, each),
    ]


def pick_most(among: BoolArray, by: FloatArray, limit: int) -> tuple[int, ...]:
    """Return up to ``limit`` rows of those ``among``, largest ``by`` first; ties in the order of the rows."""
    rows: IntArray = np.flatnonzero(among)
    order = np.argsort(-by[rows], kind="stable")[:limit]
    return tuple(int(row) for row in rows[order])


def _choose(title: str, text: str, among: BoolArray, by: FloatArray, limit: int) -> SampleGroup:
    return SampleGroup(title, text, int(np.count_nonzero(among)), pick_most(among, by, limit))


def embed_picture(root: Path | ListedPictures | None, path: str) -> Picture:
    """Read an image below the data's root, or out of data that is not just a folder, and return it as a data URI.

    A path that leads out of the root, and a file that is missing or no image, give a picture without ``uri``.
    """
    if root is not None and not isinstance(root, Path):
        try:
            return _encode(root.load(path))
        except DataError:
            return Picture(None, 1, 1)
    parts = PurePosixPath(path.replace("\\", "/"))
    if root is None or parts.is_absolute() or ".." in parts.parts:
        return Picture(None, 1, 1)
    try:
        with Image.open(root / parts) as file:
            return _encode(_flatten(ImageOps.exif_transpose(file)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Picture(None, 1, 1)


def _flatten(image: Image.Image) -> Image.Image:
    """Return an RGB or grey image; transparency on white, 16 bits scaled to 8."""
    if image.mode.startswith("I"):
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray((values / 257).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _encode(image: Image.Image) -> Picture:
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    small = max(image.size) <= _PIXEL_ART_SIDE
    buffer = io.BytesIO()
    if small:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=82)
    content = base64.b64encode(buffer.getvalue()).decode()
    return Picture(f"data:image/{'png' if small else 'jpeg'};base64,{content}", *image.size)
