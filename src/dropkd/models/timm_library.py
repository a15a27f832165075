"""The models of timm."""

from __future__ import annotations

from functools import cache
from typing import Any

import timm
import torch
from huggingface_hub import constants
from timm.models import get_pretrained_cfg, is_model
from torch import nn

from dropkd.errors import ModelError, did_you_mean
from dropkd.models.hub import cache_folder, find_cached, is_reachable, note_partial
from dropkd.models.library import Defaults, nearest_interpolation
from dropkd.models.published import explain_missing_weights
from dropkd.models.spec import to_triple

__all__ = ["TimmLibrary"]


class TimmLibrary:
    """Models by ``NAME`` or ``NAME.TAG``, where the tag picks one of several published weights."""

    source = "timm"

    def names(self) -> tuple[str, ...]:
        """Return the names of all models, without tags."""
        return _list_names()

    def has(self, name: str) -> bool:
        """Return whether timm has the model.

        Raises:
            ModelError: it has, but no published weights with that tag.
        """
        if not is_model(name):
            return False
        architecture, _, tag = name.partition(".")
        tags = _list_tags(architecture) if tag else ()
        if tag not in (*tags, ""):
            raise ModelError(
                f"timm has no published weights {name!r}. Tags of {architecture!r}: "
                f"{', '.join(tags) or 'none'}.{did_you_mean(tag, tags)}"
            )
        return True

    def defaults(self, name: str) -> Defaults:
        """Return what the model's published weights (its default ones without a tag) were trained for."""
        config = get_pretrained_cfg(name)
        if config is None:
            return Defaults((224, 224), num_classes=1000)
        return Defaults(
            image_size=(config.input_size[1], config.input_size[2]),
            num_classes=config.num_classes,
            mean=to_triple(config.mean),
            std=to_triple(config.std),
            interpolation=nearest_interpolation(config.interpolation),
            crop_fraction=config.crop_pct or 1.0,
            pretrained=bool(config.has_weights),
        )

    def build(
        self,
        name: str,
        *,
        num_classes: int,
        image_size: tuple[int, int],
        options: dict[str, Any],
        pretrained: bool,
    ) -> tuple[nn.Module, dict[str, Any]]:
        """Return the model and its options; see :class:`~dropkd.models.library.Library`.

        Models that are built for one image size (transformers) get ``img_size`` where it is another.
        """
        defaults = self.defaults(name)
        if pretrained and not defaults.pretrained:
            raise ModelError(
                f"timm has no published weights of {name!r}. Start from random ones (--no-pretrained), "
                f"or give a file of weights as '{name}:CHECKPOINT'."
            )
        sized = options
        if image_size != defaults.image_size and "img_size" not in options:
            sized = {**options, "img_size": list(image_size)}
        try:
            return _create(name, num_classes, sized, pretrained), sized
        except TypeError as error:
            # Convolutional networks take images of any size and have no such option.
            if sized is options or "img_size" not in str(error):
                raise ModelError(f"timm can't build {name!r} with the options {options!r}: {error}.") from error
            return _create_unsized(name, num_classes, options, pretrained), options


def _create(name: str, num_classes: int, options: dict[str, Any], pretrained: bool) -> nn.Module:
    overlay = _overlay_source(name) if pretrained else None
    try:
        model: nn.Module = timm.create_model(
            name, pretrained=pretrained, pretrained_cfg_overlay=overlay, num_classes=num_classes, **options
        )
    except TypeError:
        raise
    except Exception as error:
        if pretrained:
            raise ModelError(_explain_missing_weights(name, f"{type(error).__name__}: {error}")) from error
        raise ModelError(
            f"timm can't build {name!r} with the options {options!r}: {type(error).__name__}: {error}."
        ) from error
    return model


def _overlay_source(name: str) -> dict[str, Any] | None:
    """Return where the published weights come from if not from the hub.

    Raises:
        ModelError: the hub can't be reached and the weights were not fetched before.
    """
    config = get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id or is_reachable():
        return None
    cached = find_cached(config.hf_hub_id, config.hf_hub_filename)
    if cached is None:
        raise ModelError(_explain_missing_weights(name, "it can't be reached"))
    return {"file": str(cached)}


def _create_unsized(name: str, num_classes: int, options: dict[str, Any], pretrained: bool) -> nn.Module:
    try:
        return _create(name, num_classes, options, pretrained)
    except TypeError as error:
        raise ModelError(f"timm can't build {name!r} with the options {options!r}: {error}.") from error


def _explain_missing_weights(name: str, reason: str) -> str:
    config = get_pretrained_cfg(name)
    repository = config.hf_hub_id if config is not None else None
    if config is None or not repository:
        address = str(config.url) if config is not None and config.url else "its web address"
        return explain_missing_weights(
            name, reason, file=address, source=address, folder=f"{torch.hub.get_dir()}/checkpoints", found=None
        )
    file = config.hf_hub_filename or "model.safetensors"
    return explain_missing_weights(
        name,
        reason,
        file=f"{constants.ENDPOINT}/{repository}/resolve/main/{file}",
        source=f"the Hugging Face repository {repository!r}",
        folder=f"the cache {cache_folder()}",
        found=find_cached(repository, config.hf_hub_filename),
        cut=note_partial(repository),
    )


@cache
def _list_tags(architecture: str) -> tuple[str, ...]:
    return tuple(full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*"))


@cache
def _list_names() -> tuple[str, ...]:
    return tuple(timm.list_models())
