"""A run's images with what is kept of them decoded."""

from __future__ import annotations

from dataclasses import replace

from dropkd.config import DataConfig
from dropkd.data import ImageData, Packing, Recipe, UnlabelledImages, drop_pack, keep_pixels
from dropkd.data.remembering import Remembering
from dropkd.engine.observer import Observer
from dropkd.engine.plan import ResolvedConfig

__all__ = ["choose_remembering", "keep_decoded", "leave_packed"]


def choose_remembering(config: DataConfig) -> Remembering:
    """Return how far the start of a run trusts what earlier ones have read, and what it may write down."""
    return Remembering(config.verify, round(config.packed_gb * 1e9) if config.packed == "auto" else 0)


def leave_packed(
    data: ImageData, unlabelled: UnlabelledImages | None, mode: str
) -> tuple[ImageData, UnlabelledImages | None]:
    """Return the images without their pixels in memory, where ``data.packed`` does not want these there."""
    dropped = {split.name: drop_pack(split, mode) for split in data.splits}
    data = replace(data, **dropped)  # type: ignore[arg-type]
    if unlabelled is not None:
        unlabelled = replace(unlabelled, split=drop_pack(unlabelled.split, mode))
    return data, unlabelled


def keep_decoded(
    config: ResolvedConfig,
    data: ImageData,
    unlabelled: UnlabelledImages | None,
    recipe: Recipe,
    size: tuple[int, int],
    observer: Observer,
) -> tuple[ImageData, UnlabelledImages | None]:
    """Return the images, to be decoded once where that pays; what is kept, and why something is not, is told."""
    packing = Packing(config.data.packed, round(config.data.packed_gb * 1e9))
    epochs = config.training.epochs
    splits, note = keep_pixels(data.splits, packing, recipe, size, epochs=epochs)
    data = replace(data, **{split.name: split for split in splits})  # type: ignore[arg-type]
    notes = [note]
    if unlabelled is not None:
        (pool,), note = keep_pixels([unlabelled.split], packing, recipe, size, epochs=epochs)
        unlabelled = replace(unlabelled, split=pool)
        notes.append(note and f"Unlabelled images: {note}")
    for text in filter(None, notes):
        observer.on_message(text)
    return data, unlabelled
