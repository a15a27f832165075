"""Perceptual hashes: pictures that look alike get bits that are alike, however they were stored, scaled or trimmed.

The hash is imagehash's ``phash`` of 16 x 16 bits, the signs of a picture's slow cosine waves against their median,
taken four times: of the whole picture and of its middle, with a little more of the rim left away each time. A trimmed
copy looks like one of these. A fixed, faint pattern is laid over the picture first. Symmetric drawings and plain areas
have many waves whose strength is zero but for noise, and their signs would be the noise's; with the pattern they are
the pattern's, in every copy the same. What the pattern makes alike is told apart by the thumbnails.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dropkd.data.images import Picture

__all__ = [
    "HASH_BITS",
    "MARGINS",
    "THUMB_SIDE",
    "can_hash",
    "hash_picture",
    "make_thumb",
    "shrink_to_grey",
    "trim_thumbs",
]

_HASH_SIDE = 16
HASH_BITS = _HASH_SIDE**2
# What is left away on each side, as a share of it: copies that lost up to a tenth of their width are within reach.
MARGINS = (0.0, 0.015, 0.03, 0.045)
# imagehash takes waves four times as fine as the hash, so this is the size that it would scale to itself.
_SIDE = 4 * _HASH_SIDE
THUMB_SIDE = 16
# Larger pictures are first brought near this, which is fast; what is left away is still more than a pixel of it.
_LARGEST = 256
# Stronger than the noise of JPEG at quality 50, weaker than the lines of a drawing; measured, see docs/data-check.md.
_PATTERN_STRENGTH = 12.0
# The picture is made fainter, so that the pattern is not cut off in black and white areas.
_FAINTER, _LIFTED = 0.8, 25.0


def can_hash() -> bool:
    """Tell whether imagehash is installed."""
    return find_spec("imagehash") is not None


def hash_picture(image: Picture) -> NDArray[np.uint64]:
    """Return the hashes of a grey or RGB picture and of its middles, (len(MARGINS), 4) uint64."""
    import imagehash

    grey = shrink_to_grey(image)
    width, height = grey.size
    hashes = []
    for margin in MARGINS:
        box = (width * margin, height * margin, width * (1 - margin), height * (1 - margin))
        middle = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, box), np.float32)
        covered = (_FAINTER * middle + _LIFTED + _pattern()).clip(0, 255).astype(np.uint8)
        bits = imagehash.phash(Image.fromarray(covered), hash_size=_HASH_SIDE).hash
        hashes.append(np.packbits(bits.reshape(-1)[_order()]).view(np.uint64))
    return np.stack(hashes)


def shrink_to_grey(image: Picture) -> Picture:
    """Return a picture in grey, with its longer side near 256 pixels where it is longer."""
    factor = max(image.size) // _LARGEST
    return (image.reduce(min(factor, *image.size)) if factor > 1 else image).convert("L")


def make_thumb(grey: Picture) -> NDArray[np.uint8]:
    """Return a grey picture as (16, 16) uint8; copies of other sizes come out the same to a grey level or two."""
    step = _SIDE // THUMB_SIDE
    cells = _take_middle(grey, 0.0).reshape(THUMB_SIDE, step, THUMB_SIDE, step)
    thumb: NDArray[np.uint8] = cells.mean(axis=(1, 3)).round().astype(np.uint8)
    return thumb


def _take_middle(grey: Picture, margin: float) -> NDArray[np.float32]:
    width, height = grey.size
    box = (width * margin, height * margin, width * (1 - margin), height * (1 - margin))
    return np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, box), np.float32)


def trim_thumbs(thumbs: NDArray[np.float32], margin: float) -> NDArray[np.float32]:
    """Return the middles of thumbnails, enlarged to the size of the whole; (N, side, side) in and out."""
    side = thumbs.shape[-1]
    place = (np.arange(side) + 0.5) * (1 - 2 * margin) + side * margin - 0.5
    below = np.clip(np.floor(place).astype(int), 0, side - 2)
    share = np.clip(place - below, 0, 1)
    weights = np.zeros((side, side), np.float32)
    weights[np.arange(side), below] = 1 - share
    weights[np.arange(side), below + 1] = share
    middles: NDArray[np.float32] = np.einsum("ij,njk,lk->nil", weights, thumbs, weights, optimize=True)
    return middles


@cache
def _pattern() -> NDArray[np.float32]:
    noise = np.random.default_rng(5).standard_normal((_SIDE, _SIDE))
    return (_PATTERN_STRENGTH * noise).astype(np.float32)


@cache
def _order() -> NDArray[np.int64]:
    """Return a fixed order of the bits: the slow waves of like pictures agree, and should not all lie in one band."""
    return np.random.default_rng(6).permutation(HASH_BITS)
