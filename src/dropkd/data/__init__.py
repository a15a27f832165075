"""Data sets of images as batches: opening and checking, splits, random views, loaders."""

from __future__ import annotations

from dropkd.data.images import load_image
from dropkd.data.loaders import EvalLoader, LoadedBatch, TrainLoader
from dropkd.data.opening import open_data
from dropkd.data.recipe import AUGMENTATIONS, Recipe, default_image_size, default_recipe
from dropkd.data.source import absolute_source
from dropkd.data.split import ImageData, Pack, Split

__all__ = [
    "AUGMENTATIONS",
    "EvalLoader",
    "ImageData",
    "LoadedBatch",
    "Pack",
    "Recipe",
    "Split",
    "TrainLoader",
    "absolute_source",
    "default_image_size",
    "default_recipe",
    "load_image",
    "open_data",
]
