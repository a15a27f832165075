"""A run's recipe of random changes, from its configuration and back."""

from __future__ import annotations

from typing import Any

from dropkd.config import DataConfig
from dropkd.data import RECIPE_PARTS, ImageData, Recipe, recipe
from dropkd.engine.plan import ResolvedConfig, ResolvedData

__all__ = ["choose_recipe", "fit_padding", "list_parts", "spell_out_recipe"]

Size = tuple[int, int]

# Parts that may be off.
_SWITCHES = {"flip", "noise_probability", "flip_or_noise", "operations", "color_jitter", "erase_probability"}


def choose_recipe(config: DataConfig, data: ImageData, view_size: Size) -> Recipe:
    """Return the recipe that a configuration names, with the parts that it gives in place of the recipe's own."""
    parts = {part: getattr(config, part) for part in RECIPE_PARTS}
    return recipe(config.augmentation, view_size=view_size, native_size=data.native_size, **parts)


def list_parts(chosen: Recipe) -> dict[str, Any]:
    """Return the parts of a recipe that do something, such as no scale of a crop that only shifts."""
    off = (False, 0.0, "none")
    return {
        part: value for part, value in _parts_that_count(chosen).items() if part not in _SWITCHES or value not in off
    }


def spell_out_recipe(config: ResolvedConfig, chosen: Recipe) -> ResolvedConfig:
    """Return the configuration with every part of the recipe that counts, so that it outlives a change of defaults."""
    parts = {**dict.fromkeys(RECIPE_PARTS), **_parts_that_count(chosen)}
    data = ResolvedData.model_validate({**config.data.model_dump(), **parts})
    return config.model_copy(update={"data": data})


def _parts_that_count(chosen: Recipe) -> dict[str, Any]:
    idle = {
        *(["crop_padding"] if chosen.crop != "shift" else []),
        *(["crop_scale", "crop_ratio"] if chosen.crop != "resized" else []),
        *(["rand_ops", "rand_magnitude"] if chosen.operations != "rand" else []),
        *(["flip_or_noise"] if not chosen.noise_probability else []),
        *(["erase_scale"] if not chosen.erase_probability else []),
    }
    return {part: getattr(chosen, part) for part in RECIPE_PARTS if part not in idle}


def fit_padding(config: ResolvedData, view_size: Size) -> ResolvedData:
    """Return the part of a configuration for the student alone, whose views may be smaller than those with a teacher.

    Args:
        config: its ``crop_padding`` is in pixels of the views with the teacher; the share of the view stays.
        view_size: height and width of the views with the teacher.
    """
    if config.crop_padding is None:
        return config
    padding = int(config.crop_padding * min(config.image_size) / min(view_size) + 0.5)
    return config.model_copy(update={"crop_padding": padding})
