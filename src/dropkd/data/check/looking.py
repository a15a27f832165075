"""Looks at one image: whether it can be read, how it is stored, and digests and hashes that stand for its pixels."""

from __future__ import annotations

import hashlib
import threading
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dropkd.data.check.hashing import hash_picture, make_thumb, shrink_to_grey
from dropkd.data.images import Picture, as_seen, open_image, read_orientation

__all__ = ["PIXEL_DIGEST_BYTES", "Look", "look_at_file", "look_at_pixels"]

# 128 bits: by chance, two of a billion images have the same with a probability of 1e-21.
PIXEL_DIGEST_BYTES = 16
# Images of more pixels than this are decoded one at a time, so that many threads don't fill the memory.
_LARGE_PIXELS = 20_000_000
_ONE_LARGE = threading.Lock()


@dataclass(frozen=True, eq=False)
class Look:
    """What one image is like.

    Args:
        height: in pixels, as seen.
        width: the same.
        content: SHA-256 of the file.
        pixels: a digest of the size and the RGB pixels, as seen.
        format: what the content is, as Pillow calls it; empty for an image that is no file.
        mode: how colours are stored, as Pillow calls it.
        turned: whether a camera noted that the image has to be turned.
        frames: 1, or more for an animated image.
        colourless: whether red, green and blue are the same in all pixels.
        thumb: (16, 16) uint8, grey.
        colour: (3,) uint8, the mean colour.
        hashes: perceptual hashes of the whole and of its middles, (4, 4) uint64, or None where none were asked for.
    """

    height: int
    width: int
    content: bytes
    pixels: bytes
    format: str
    mode: str
    turned: bool
    frames: int
    colourless: bool
    thumb: NDArray[np.uint8]
    colour: NDArray[np.uint8]
    hashes: NDArray[np.uint64] | None


def look_at_file(data: bytes, *, hashing: bool) -> Look:
    """Look at the bytes of a file; errors are Pillow's own."""
    image = open_image(data)
    with _ONE_LARGE if image.width * image.height > _LARGE_PIXELS else nullcontext():
        frames = getattr(image, "n_frames", 1)
        kind, mode, turned = image.format or "", image.mode, read_orientation(image) != 1
        content = hashlib.sha256(data).digest()
        return _look(as_seen(image), content, kind, mode, turned, frames, hashing)


def look_at_pixels(pixels: NDArray[np.uint8], *, hashing: bool) -> Look:
    """Look at an image that is no file, (H, W, 3)."""
    content = hashlib.sha256(pixels.tobytes()).digest()
    return _look(Image.fromarray(pixels), content, "", "RGB", False, 1, hashing)


def _look(rgb: Picture, content: bytes, kind: str, mode: str, turned: bool, frames: int, hashing: bool) -> Look:
    values = np.asarray(rgb)
    digest = hashlib.blake2b(f"{rgb.width}x{rgb.height}".encode(), digest_size=PIXEL_DIGEST_BYTES)
    digest.update(values.tobytes())
    colourless = mode in ("1", "L", "I", "F") or mode.startswith("I;") or _is_grey(values)
    grey = shrink_to_grey(rgb)
    colour = np.asarray(rgb.resize((1, 1), Image.Resampling.BOX))[0, 0]
    return Look(
        rgb.height, rgb.width, content, digest.digest(), kind, mode, turned, frames, colourless,
        make_thumb(grey), colour, hash_picture(grey) if hashing else None,
    )  # fmt: skip


def _is_grey(values: NDArray[np.uint8]) -> bool:
    """Tell whether all pixels are grey; the first rows mostly tell that they are not."""
    for part in (values[:8], values):
        if not (np.array_equal(part[..., 0], part[..., 1]) and np.array_equal(part[..., 1], part[..., 2])):
            return False
    return True
