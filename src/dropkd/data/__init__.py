"""Data sets of images as batches: opening and checking, splits, random views, loaders."""

from __future__ import annotations

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
