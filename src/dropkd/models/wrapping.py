"""Networks around a user's own module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from dropkd.errors import ModelError
from dropkd.models.library import Defaults, nearest_interpolation
from dropkd.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec, parse_image_size, to_triple
from dropkd.models.tapped import TappedNetwork

__all__ = ["read_defaults", "wrap_model"]


def wrap_model(
    model: nn.Module,
    *,
    image_size: int | Sequence[int] | None = None,
    num_classes: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    interpolation: str | None = None,
    crop_fraction: float | None = None,
    map_modules: Sequence[str] | None = None,
    embedding_module: str | None = None,
    name: str = "custom",
    classes: Sequence[str] | None = None,
) -> TappedNetwork:
    """Make a :class:`Network` of any module that gives logits (B, K) for normalised images (B, 3, H, W).

    A model that timm built says itself what it wants to be fed; of other modules None stands for what is said below.

    Args:
        model: the user's module; it is neither copied nor changed.
        image_size: side, or height and width, that the model is fed; to be given unless timm built it.
        num_classes: number of logits; checked where given.
        mean: per channel, of RGB values in 0..1; by default ImageNet's.
        std: per channel, of RGB values in 0..1; by default ImageNet's.
        interpolation: ``bilinear`` (the default), ``bicubic`` or ``nearest``.
        crop_fraction: the centre part, per side, that the model is shown in evaluation; by default all.
        map_modules: names of the modules whose outputs are the maps, shallow to deep: (B, C, H, W), or tokens
            (B, N, D). Where None, the last module of each resolution after the stem, found by one dry run.
        embedding_module: name of the module whose output is the embedding; where None, it is what the last
            linear layer sees.
        name: how the model is called in messages and run folders.
        classes: names of the classes in the order of the logits.

    Raises:
        ModelError: a named module is not there (the text lists those that are), or no classifier was found.
    """
    own = read_defaults(model)
    size = parse_image_size(image_size) or (own.image_size if own else None)
    if size is None:
        raise ModelError(f"{type(model).__name__} needs image_size, the size of the images that it is fed.")
    base = own or Defaults(size, num_classes=0)
    if crop_fraction is None:
        crop_fraction = base.crop_fraction if size == base.image_size else 1.0
    if interpolation is not None and interpolation != nearest_interpolation(interpolation):
        raise ModelError(f"interpolation must be 'bilinear', 'bicubic' or 'nearest', got {interpolation!r}.")
    if not 0 < crop_fraction <= 1:
        raise ModelError(f"crop_fraction must be in (0, 1], got {crop_fraction!r}.")
    spec = ModelSpec(
        name=name,
        num_classes=num_classes or 0,
        image_size=size,
        mean=base.mean if mean is None else to_triple(mean),
        std=base.std if std is None else to_triple(std),
        interpolation=interpolation or base.interpolation,
        crop_fraction=crop_fraction,
        classes=None if classes is None else tuple(classes),
    )
    return TappedNetwork(model, spec, map_modules=map_modules, embedding_module=embedding_module)


def read_defaults(model: nn.Module) -> Defaults | None:
    """Return what a model that timm built was trained for, or None for any other module."""
    config: dict[str, Any] | None = getattr(model, "pretrained_cfg", None)
    if not isinstance(config, dict) or "input_size" not in config:
        return None
    # Transformers that were built for another size than their published weights say so here.
    built_for = getattr(getattr(model, "patch_embed", None), "img_size", None) or config["input_size"][1:]
    return Defaults(
        image_size=(built_for[0], built_for[1]),
        num_classes=config.get("num_classes") or 0,
        mean=to_triple(config.get("mean") or IMAGENET_MEAN),
        std=to_triple(config.get("std") or IMAGENET_STD),
        interpolation=nearest_interpolation(config.get("interpolation") or "bilinear"),
        crop_fraction=config.get("crop_pct") or 1.0,
    )
