"""Whether the decoded images of a data set are kept, and where: in memory, or on disk for this run and later ones."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.decoders import decoder_versions
from dropkd.data.geometry import centre_box, resized_box
from dropkd.data.jpegs import EVALUATION_PIXELS, TRAINING_PIXELS, choose_scale
from dropkd.data.pixel_file import SCALES, PixelFile
from dropkd.data.pixel_folders import SHARE_OF_DISK, claim, count_bytes, make_room, pixels_root
from dropkd.data.recipes import Recipe
from dropkd.data.sources import KeptRows
from dropkd.data.split import Split
from dropkd.files import say_bytes

__all__ = ["Packing", "drop_pack", "estimate_bytes", "keep_pixels"]

# What is kept has another meaning when this grows.
_FORMAT = 1
# Unasked, no more of the memory is taken than can well be spared: what the system can't hold there is read from the
# disk again, and not every disk is faster than decoding.
_SHARE_OF_MEMORY = 0.5
_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")


@dataclass(frozen=True)
class Packing:
    """What the user wants kept.

    Args:
        mode: ``auto``, ``memory``, ``disk`` or ``off``, as ``data.packed``.
        limit: how many bytes the decoded images of all data sets may have on disk together.
    """

    mode: str = "auto"
    limit: int = 10**10


def drop_pack(split: Split, mode: str) -> Split:
    """Return a split without its images in memory, where these are not to be kept there and can be had again."""
    if split.pack is None or not split.pack.has_files or mode not in ("disk", "off"):
        return split
    return replace(split, pack=None)


def keep_pixels(
    splits: Sequence[Split], packing: Packing, recipe: Recipe, size: tuple[int, int], *, epochs: int
) -> tuple[list[Split], str | None]:
    """Return splits whose images are decoded once where that can be kept and pays, and a sentence on it.

    Which pixels training sees does not depend on it.

    Args:
        splits: of one data set.
        packing: what the user wants.
        recipe: the random changes.
        size: height and width of the views.
        epochs: how often each image is shown.
    """
    alone = list(splits)
    loose = [split for split in splits if split.pack is None]
    if packing.mode not in ("auto", "disk") or not loose or any(split.kept is not None for split in splits):
        return alone, None
    # Files are written at given places by several processes, which Windows does otherwise.
    if any(split.sizes is None or not split.digests for split in loose) or not hasattr(os, "pwrite"):
        return alone, None
    rows, sizes, name = _name_rows(loose)
    folder = pixels_root() / name
    wanted = estimate_bytes(loose, recipe, size)
    there = count_bytes(folder)
    reason = _find_reason(packing, wanted, there, epochs)
    if reason is not None:
        return alone, reason or None
    try:
        make_room(folder, packing.limit - wanted)
        file = PixelFile(folder, sizes)
        claim(file, loose[0].root)
    except OSError as error:
        return alone, f"Decoded images can't be kept in {str(folder)!r} ({error.strerror}): each is decoded anew."
    known = {id(split): KeptRows(file, own) for split, own in zip(loose, rows, strict=True)}
    kept = [replace(split, kept=known.get(id(split))) for split in splits]
    images, count = len(sizes), file.count()
    if count:
        return kept, f"Decoded images: {count:,} of {images:,} are there already, in {folder}"
    return kept, f"Decoded images: kept in {folder}, up to about {say_bytes(wanted)}, so that each is decoded once."


def estimate_bytes(splits: Sequence[Split], recipe: Recipe, size: tuple[int, int]) -> int:
    """Return about how many bytes of pixels a training looks at.

    A JPEG counts at each scale that a view may need; what has another ending counts whole.

    Args:
        splits: of a data set, with their images' sizes.
        recipe: the random changes.
        size: height and width of the views.
    """
    total = 0
    for split in splits:
        if split.sizes is None:
            continue
        jpeg = np.array([path.suffix.lower() in _JPEG_SUFFIXES for path in split.paths])
        pixels = TRAINING_PIXELS if split.name in ("train", "unlabelled") else EVALUATION_PIXELS
        for is_jpeg in (False, True):
            unique, counts = np.unique(split.sizes[jpeg == is_jpeg], axis=0, return_counts=True)
            for (height, width), count in zip(unique.tolist(), counts.tolist(), strict=True):
                scales = _list_scales((height, width), recipe, size, pixels) if is_jpeg else [1]
                total += count * sum(3 * -(-height // s) * -(-width // s) for s in scales)
    return total


def _list_scales(native: tuple[int, int], recipe: Recipe, size: tuple[int, int], pixels: int) -> list[int]:
    """Return the scales at which views of a JPEG may be decoded."""
    if recipe.noise_probability:
        return [1]
    boxes = [centre_box(native, size)]
    if recipe.crop == "resized" and pixels == TRAINING_PIXELS:
        boxes = [
            resized_box(native, size, share, stretch, 0.0, 0.0)
            for share in recipe.crop_scale
            for stretch in (*recipe.crop_ratio, 1.0)
        ]
    found = [choose_scale(native, box, size, pixels) for box in boxes]
    return [scale for scale in SCALES if min(found) <= scale <= max(found)]


def _name_rows(splits: Sequence[Split]) -> tuple[list[NDArray[np.int64]], NDArray[np.int64], str]:
    """Return each split's rows in the file, the sizes of all rows, and the name of what holds them.

    A row is a content: the order of images, their names and the cut into splits make no difference.
    """
    sizes = {
        digest: tuple(size)
        for split in splits
        if split.sizes is not None
        for digest, size in zip(split.digests, split.sizes.tolist(), strict=True)
    }
    digests = sorted(sizes)
    row = {digest: number for number, digest in enumerate(digests)}
    whole = hashlib.sha256(json.dumps([_FORMAT, *decoder_versions()]).encode())
    for digest in digests:
        whole.update(digest)
    rows = [np.array([row[digest] for digest in split.digests], np.int64) for split in splits]
    return rows, np.array([sizes[digest] for digest in digests], np.int64), whole.hexdigest()[:32]


def _find_reason(packing: Packing, wanted: int, there: int, epochs: int) -> str | None:
    """Return why nothing is kept (empty: nothing worth saying), or None where it is."""
    if wanted > packing.limit:
        return (
            f"Decoded, the images would take {say_bytes(wanted)}, more than data.packed_gb "
            f"({say_bytes(packing.limit)}): they are decoded each time that they are shown."
        )
    if packing.mode == "disk":
        return None
    if epochs < 2 and not there:
        return ""
    free = shutil.disk_usage(_find_parent(pixels_root())).free
    if wanted - there > SHARE_OF_DISK * free or wanted > _SHARE_OF_MEMORY * _count_memory():
        return (
            f"Decoded, the images would take {say_bytes(wanted)}, too much of this machine's disk or memory to keep "
            "unasked; --set data.packed=disk keeps them."
        )
    return None


def _find_parent(folder: Path) -> Path:
    """Return the folder itself, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def _count_memory() -> int:
    """Return how many bytes of memory this process may have."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limits.append(int(Path("/sys/fs/cgroup", name).read_text()))
    return min(limits)
