"""Data sets of images as batches: opening and checking, splits, random views, loaders.

Every name is imported when it is first used: reading an image needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropkd.config.augmentations import AUGMENTATIONS
    from dropkd.data.batches import LoadedBatch
    from dropkd.data.images import load_image
    from dropkd.data.loaders import EvalLoader, TrainLoader
    from dropkd.data.mixed import MixedLoader
    from dropkd.data.named_recipes import default_image_size, recipe
    from dropkd.data.opening import open_data
    from dropkd.data.packing import Packing, drop_pack, keep_pixels
    from dropkd.data.recipes import RECIPE_PARTS, Recipe
    from dropkd.data.rendering import render_view
    from dropkd.data.source import absolute_source
    from dropkd.data.split import ImageData, Pack, Split
    from dropkd.data.unlabelled import UnlabelledImages, open_unlabelled

__all__ = [
    "AUGMENTATIONS",
    "RECIPE_PARTS",
    "EvalLoader",
    "ImageData",
    "LoadedBatch",
    "MixedLoader",
    "Pack",
    "Packing",
    "Recipe",
    "Split",
    "TrainLoader",
    "UnlabelledImages",
    "absolute_source",
    "default_image_size",
    "drop_pack",
    "keep_pixels",
    "load_image",
    "open_data",
    "open_unlabelled",
    "recipe",
    "render_view",
]

_HOMES = {
    "AUGMENTATIONS": "dropkd.config.augmentations",
    "EvalLoader": "dropkd.data.loaders",
    "ImageData": "dropkd.data.split",
    "LoadedBatch": "dropkd.data.batches",
    "MixedLoader": "dropkd.data.mixed",
    "Pack": "dropkd.data.split",
    "Packing": "dropkd.data.packing",
    "RECIPE_PARTS": "dropkd.data.recipes",
    "Recipe": "dropkd.data.recipes",
    "Split": "dropkd.data.split",
    "TrainLoader": "dropkd.data.loaders",
    "UnlabelledImages": "dropkd.data.unlabelled",
    "absolute_source": "dropkd.data.source",
    "default_image_size": "dropkd.data.named_recipes",
    "drop_pack": "dropkd.data.packing",
    "keep_pixels": "dropkd.data.packing",
    "load_image": "dropkd.data.images",
    "open_data": "dropkd.data.opening",
    "open_unlabelled": "dropkd.data.unlabelled",
    "recipe": "dropkd.data.named_recipes",
    "render_view": "dropkd.data.rendering",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dropkd.data' has no attribute {name!r}")
    # Kept: a loader's inner parts ask for these names again and again.
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
