"""Recipes by name, and sizes and recipes that fit the images at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropkd.config.augmentations import AUGMENTATIONS, find_augmentation
from dropkd.data.recipes import RECIPE_PARTS, Recipe
from dropkd.errors import ConfigError, did_you_mean

__all__ = ["default_image_size", "recipe"]

# Up to this many pixels on the longer side an image is small: every pixel counts, so no zoom.
_SMALL_SIDE = 64
# Images are enlarged to a pretrained network's own size by no more than this unless the user asks for it.
_MOST_ENLARGEMENT = 1.5
# The size that photographs are shown at where no pretrained network asks for one.
_PHOTO_SIDE = 224
# Strides of most networks divide 32, so their maps come out even.
_STRIDE = 32

_SHIFT, _RESIZED = {"crop": "shift"}, {"crop": "resized"}
# How ResNets have been trained on ImageNet since Inception.
_IMAGENET = {"crop": "resized", "crop_scale": (0.08, 1.0)}
# What the codes of SCN and EAC share: the image whole, noise, and the library's random erasing.
_FACES = {"crop": "centre", "noise_probability": 0.5, "erase_probability": 0.5, "erase_scale": (0.02, 0.25)}
_BY_NAME: dict[str, dict[str, Any]] = {
    "none": {"crop": "centre", "flip": False},
    "crop-flip": _SHIFT,
    "resized-crop": _RESIZED,
    "cifar": _SHIFT,
    "imagenet": _IMAGENET,
    "faces-scn": {**_FACES, "flip_or_noise": True},
    "faces-eac": {**_FACES, "flip": False},
}
# The recipe of small images, and that of larger ones.
_BY_SIZE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "auto": (_SHIFT, _RESIZED),
    "trivial": ({**_SHIFT, "operations": "trivial"}, {**_IMAGENET, "operations": "trivial"}),
    "rand": ({**_SHIFT, "operations": "rand"}, {**_IMAGENET, "operations": "rand"}),
}
# The images that these are made for, where nothing is said of their size.
_OWN_SIZE = {"cifar": (32, 32), "crop-flip": (32, 32)}

# A part that says nothing unless another part has this value.
_BELONGS_TO = {
    "crop_scale": ("crop", "resized"),
    "crop_ratio": ("crop", "resized"),
    "rand_ops": ("operations", "rand"),
    "rand_magnitude": ("operations", "rand"),
}
# One that says nothing unless another is above 0.
_SAYS_HOW = {"erase_scale": "erase_probability", "flip_or_noise": "noise_probability"}


def recipe(
    name: str = "auto",
    *,
    view_size: tuple[int, int] | None = None,
    native_size: tuple[int, int] | None = None,
    **parts: Any,
) -> Recipe:
    """Return a recipe by its name, as ``data.augmentation`` takes it; see ``docs/augmentation.md``.

    Args:
        name: ``auto``, ``none``, ``crop-flip``, ``resized-crop``, ``cifar``, ``imagenet``, ``faces-scn``,
            ``faces-eac``, ``trivial`` or ``rand``; other spellings (``RandAugment``, ``faces-as-SCN``) do as well.
        view_size: height and width of the views; shifts go up to an eighth of it.
        native_size: height and width of the images as they are, by which ``auto``, ``trivial`` and ``rand`` choose
            their crop: shifts up to 64 px, parts of random size beyond; by default ``view_size``.
        parts: arguments of :class:`Recipe` in place of the recipe's own; None stands for the recipe's own.

    Raises:
        ConfigError: an unknown name, a value out of range, or a part that this recipe has no use for.

    Example:
        >>> recipe("cifar").crop_padding, recipe("cifar", view_size=(64, 64)).crop_padding
        (4, 8)
        >>> recipe("trivial", native_size=(480, 640)).crop_scale
        (0.08, 1.0)
        >>> recipe("imagenet", crop_scale=(0.25, 1.0), flip=False).crop_scale
        (0.25, 1.0)
    """
    known = find_augmentation(name)
    if known is None:
        near = did_you_mean(name.lower(), AUGMENTATIONS)
        raise ConfigError(f"unknown augmentation {name!r}. There are: {', '.join(AUGMENTATIONS)}.{near}")
    given = {part: tuple(value) if isinstance(value, list) else value for part, value in parts.items()}
    given = {part: value for part, value in given.items() if value is not None}
    for part in given:
        if part not in RECIPE_PARTS:
            near = did_you_mean(part, RECIPE_PARTS)
            raise ConfigError(f"a recipe has no part {part!r}. There are: {', '.join(RECIPE_PARTS)}.{near}")
    view = view_size or native_size or _OWN_SIZE.get(known, (_PHOTO_SIDE, _PHOTO_SIDE))
    if known in _BY_SIZE:
        of_small, of_larger = _BY_SIZE[known]
        base = of_small if max(native_size or view) <= _SMALL_SIDE else of_larger
    else:
        base = _BY_NAME[known]
    if known == "none":
        _check_nothing_asked(given)
        given = {}
    found = Recipe(**{"crop_padding": max(1, (min(view) + 4) // 8), **base, **given})
    _check_parts_count(known, found, given)
    return found


def _check_nothing_asked(given: Mapping[str, Any]) -> None:
    """Refuse changes beside ``none``; configurations of before spell out a flip, which never counted there."""
    asked = [part for part in ("crop", "noise_probability", "operations", "color_jitter", "erase_probability")
             if given.get(part) not in (None, 0, "none", "centre")]  # fmt: skip
    if asked:
        raise ConfigError(
            f"augmentation 'none' changes nothing, but {asked[0]!r} is {given[asked[0]]!r}. Take it out, or name "
            "another recipe: 'crop-flip' with crop 'centre' and flip false is the centre frame and what is asked for."
        )


def _check_parts_count(name: str, found: Recipe, given: Mapping[str, Any]) -> None:
    for part, (other, value) in _BELONGS_TO.items():
        if part in given and getattr(found, other) != value:
            raise ConfigError(
                f"{part!r} counts where {other!r} is {value!r}, but with {name!r} it is {getattr(found, other)!r}. "
                f"Take it out, or set {other!r} to {value!r} as well."
            )
    for part, other in _SAYS_HOW.items():
        if given.get(part) and not getattr(found, other):
            raise ConfigError(f"{part!r} counts where {other!r} is above 0, but with {name!r} it is 0. Set it as well.")


def default_image_size(native_size: tuple[int, int], model_native: tuple[int, int] | None) -> tuple[int, int]:
    """Return the height and width to show images at when the user names none.

    A pretrained network gets its own size if the images need no more than 1.5 times enlargement for it; else
    small images (up to 64 px) are shown as they are, larger ones as a square of their shorter side, in steps
    of 32 px, up to 224 px.

    Args:
        native_size: height and width of the images as they are.
        model_native: the size that the network was pretrained at; None where it was not.

    Example:
        >>> default_image_size((28, 28), (224, 224))
        (28, 28)
        >>> default_image_size((375, 500), (256, 256))
        (256, 256)
    """
    shorter = min(native_size)
    if model_native is not None and shorter * _MOST_ENLARGEMENT >= max(model_native):
        return model_native
    if max(native_size) <= _SMALL_SIDE:
        return native_size
    side = min(_PHOTO_SIDE, max(_STRIDE, round(shorter / _STRIDE) * _STRIDE))
    return (side, side)
