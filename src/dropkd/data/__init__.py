"""Data sets of images as batches: opening and checking, splits, random views, loaders."""

from __future__ import annotations

from dropkd.data.batches import LoadedBatch
from dropkd.data.images import load_image
from dropkd.data.loaders import EvalLoader, TrainLoader
from dropkd.data.mixed import MixedLoader
from dropkd.data.opening import open_data
from dropkd.data.recipe import AUGMENTATIONS, Recipe, default_image_size, default_recipe
from dropkd.data.source import absolute_source
from dropkd.data.split import ImageData, Pack, Split
from dropkd.data.unlabelled import UnlabelledImages, open_unlabelled

__all__ = [
    "AUGMENTATIONS",
    "EvalLoader",
    "ImageData",
    "LoadedBatch",
    "MixedLoader",
    "Pack",
    "Recipe",
    "Split",
    "TrainLoader",
    "UnlabelledImages",
    "absolute_source",
    "default_image_size",
    "default_recipe",
    "load_image",
    "open_data",
    "open_unlabelled",
]
