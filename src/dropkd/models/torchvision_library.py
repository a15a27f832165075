"""The classification models of torchvision."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from dropkd.errors import ModelError
from dropkd.models.fitting import fit_tensors
from dropkd.models.library import Defaults
from dropkd.models.published import explain_missing_weights

__all__ = ["TorchvisionLibrary"]

# These have helper heads beside the classifier, which only their own training scripts read.
_WITH_HELPER_HEADS = ("googlenet", "inception_v3")
# What the constructors of the plain transformers build for where nothing is said.
_PLAIN_TRANSFORMER_SIZE = (224, 224)


class TorchvisionLibrary:
    """Models by ``NAME``, with the default ones among their published weights."""

    source = "torchvision"

    def names(self) -> tuple[str, ...]:
        """Return the names of all models."""
        return _list_names()

    def has(self, name: str) -> bool:
        """Return whether torchvision has the model."""
        return name in _list_names()

    def defaults(self, name: str) -> Defaults:
        """Return what the model's default published weights were trained for."""
        weights = torchvision.models.get_model_weights(name).DEFAULT
        recipe = weights.transforms()
        (size,) = recipe.crop_size
        return Defaults(
            image_size=(size, size),
            num_classes=len(weights.meta["categories"]),
            mean=tuple(recipe.mean),
            std=tuple(recipe.std),
            interpolation=str(recipe.interpolation.value),
            crop_fraction=min(1.0, size / recipe.resize_size[0]),
            pretrained=True,
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

        The plain transformers, which are built for one square size, get ``image_size`` where it isn't the
        constructor's own; the size of the published weights may be another.
        """
        used = dict(options)
        if name in _WITH_HELPER_HEADS:
            used = {
                "aux_logits": False,
                "init_weights": not pretrained,
                "transform_input": pretrained,
                **used,
            }
        if name.startswith("vit_") and image_size != _PLAIN_TRANSFORMER_SIZE:
            used.setdefault("image_size", _square_side(name, image_size))
        try:
            model: nn.Module = torchvision.models.get_model(name, num_classes=num_classes, **used)
        except (TypeError, ValueError) as error:
            raise ModelError(f"torchvision can't build {name!r} with the options {options!r}: {error}.") from error
        if pretrained:
            tensors = _fetch_weights(name)
            _fit_positions(model, tensors)
            fit_tensors(model, tensors, subject=f"The published weights of {name!r} don't fit", fresh_head=True)
        return model, used


def _square_side(name: str, image_size: tuple[int, int]) -> int:
    if image_size[0] != image_size[1]:
        raise ModelError(f"torchvision's {name!r} takes square images only, got {image_size[0]}x{image_size[1]}.")
    return image_size[0]


def _fetch_weights(name: str) -> dict[str, Tensor]:
    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        tensors: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        reason = f"{type(error).__name__}: {error}"
        raise ModelError(
            explain_missing_weights(
                f"torchvision/{name}",
                reason,
                file=weights.url,
                source=f"for {weights.url}",
                folder=str(folder),
                found=folder / Path(weights.url).name,
                into_folder=True,
            )
        ) from error
    return {key: value for key, value in tensors.items() if not key.lower().startswith("aux")}


def _fit_positions(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Resample a transformer's position embedding to the grid of the model, in place."""
    key = "encoder.pos_embedding"
    wanted = model.state_dict().get(key)
    if wanted is None or tensors[key].shape == wanted.shape:
        return
    first, grid = tensors[key][:, :1], tensors[key][:, 1:]
    side, new_side = round(grid.shape[1] ** 0.5), round((wanted.shape[1] - 1) ** 0.5)
    grid = grid.transpose(1, 2).reshape(1, -1, side, side)
    grid = nn.functional.interpolate(grid, (new_side, new_side), mode="bicubic", align_corners=True)
    tensors[key] = torch.cat([first, grid.flatten(2).transpose(1, 2)], dim=1)


@cache
def _list_names() -> tuple[str, ...]:
    return tuple(torchvision.models.list_models(module=torchvision.models))
