"""Networks by name."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dropkd.errors import ModelError
from dropkd.models.checkpoint import read_spec, read_tensors
from dropkd.models.fitting import count_classes, fit_tensors
from dropkd.models.library import Defaults
from dropkd.models.names import find_library
from dropkd.models.recognition import recognise_network
from dropkd.models.spec import ModelSpec, parse_image_size
from dropkd.models.tapped import TappedNetwork
from dropkd.models.uninitialised import WithoutDraws

__all__ = ["build_network", "create_model"]

_logger = logging.getLogger(__name__)


def build_network(
    name: str,
    *,
    num_classes: int | None,
    image_size: int | Sequence[int] | None = None,
    pretrained: bool = False,
    checkpoint: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    map_modules: Sequence[str] | None = None,
    crop_fraction: float | None = None,
) -> TappedNetwork:
    """Build a model of dropkd, timm or torchvision as a :class:`Network`.

    Args:
        name: as ``dropkd models`` lists it; ``timm/`` or ``torchvision/`` before it picks the library.
        num_classes: number of logits; None for that of the checkpoint, or else of the published weights. A
            checkpoint or published weights with another number leave the classifier at its random values.
        image_size: side, or height and width, that the model is fed; None for what it was trained for.
        pretrained: start from the library's published weights.
        checkpoint: a file of weights to start from instead.
        options: arguments of the library's constructor.
        classes: names of the classes in the order of the logits.
        map_modules: names of the modules whose outputs are the maps, shallow to deep; found where None.
        crop_fraction: the centre part, per side, that it is shown in evaluation; None for that of the weights.

    Raises:
        ModelError: unknown model or option, weights that can't be had or don't fit, an image size that it
            can't take.
    """
    if pretrained and checkpoint is not None:
        raise ModelError(f"{name!r}: published weights and the checkpoint {str(checkpoint)!r} exclude each other.")
    start = None if checkpoint is None else _read_start(name, Path(checkpoint))
    model, spec = _build_model(name, num_classes, parse_image_size(image_size), pretrained, start, options, classes)
    if crop_fraction is not None:
        spec = replace(spec, crop_fraction=crop_fraction)
    return TappedNetwork(model, spec, map_modules=map_modules)


def create_model(
    name: str, num_classes: int | None = None, checkpoint: str | Path | None = None, pretrained: bool = False
) -> nn.Module:
    """Build the plain model, which gives logits for normalised images.

    Args:
        name: as for :func:`build_network`.
        num_classes: number of logits; None for that of the checkpoint, or else of the published weights.
        checkpoint: a file of weights; all of them are loaded, the classifier's too.
        pretrained: load the library's published weights.

    Raises:
        ModelError: as for :func:`build_network`; the checkpoint has another number of classes.

    Example:
        >>> create_model("cifar_resnet8", num_classes=7).fc.out_features
        7
    """
    if pretrained and checkpoint is not None:
        raise ModelError(f"{name!r}: published weights and the checkpoint {str(checkpoint)!r} exclude each other.")
    start = None if checkpoint is None else _read_start(name, Path(checkpoint))
    model, _ = _build_model(name, num_classes, None, pretrained, start, None, None, fresh_head=False)
    return model


@dataclass(frozen=True)
class _Start:
    """The weights that a model starts from, and what dropkd wrote of them into the file.

    Args:
        path: of the file.
        tensors: by the names that they have there.
        spec: of the network that was saved, where it has the same architecture; else None.
        origin: a remark for error messages on what was saved, or an empty string.
    """

    path: Path
    tensors: dict[str, Tensor]
    spec: ModelSpec | None
    origin: str


def _read_start(name: str, path: Path) -> _Start:
    spec = read_spec(path)
    # What the file says of another architecture is of no use for this one.
    same = spec is not None and _architecture_of(spec.name) == _architecture_of(find_library(name)[2])
    origin = "" if spec is None else f" (dropkd wrote it for {spec.name!r} with {spec.num_classes} classes)"
    return _Start(path, read_tensors(path), spec if same else None, origin)


def _architecture_of(name: str) -> str:
    return name.partition(".")[0]


def _build_model(
    name: str,
    num_classes: int | None,
    image_size: tuple[int, int] | None,
    pretrained: bool,
    start: _Start | None,
    options: Mapping[str, Any] | None,
    classes: Sequence[str] | None,
    *,
    fresh_head: bool = True,
) -> tuple[nn.Module, ModelSpec]:
    """Return the model with the weights that it starts from, and its specification."""
    library, bare, name = find_library(name)
    written = start.spec if start is not None else None
    defaults = _merge_defaults(library.defaults(bare), written)
    size = image_size or defaults.image_size
    arguments = _to_json(name, _options_of(written, size) if options is None else options)
    width = num_classes if num_classes is not None else defaults.num_classes
    if width < 1:
        raise ModelError(f"{name!r} needs at least one class, got num_classes={num_classes!r}.")
    # With a number of classes of its own, a file may leave the classifier at its random values.
    replaced = start is not None and num_classes is None
    with WithoutDraws() if replaced else nullcontext():
        model, used = library.build(bare, num_classes=width, image_size=size, options=arguments, pretrained=pretrained)
        found = count_classes(model, start.tensors) if start is not None else None
        if replaced and found is not None and found != width:
            width = found
            model, used = library.build(bare, num_classes=width, image_size=size, options=arguments, pretrained=False)
    if start is not None:
        _load_start(model, start, name, fresh_head=fresh_head and num_classes is not None)
    cropped = (pretrained or start is not None) and size == defaults.image_size
    spec = ModelSpec(
        name=name,
        num_classes=width,
        image_size=size,
        mean=defaults.mean,
        std=defaults.std,
        interpolation=defaults.interpolation,
        crop_fraction=defaults.crop_fraction if cropped else 1.0,
        options=used,
        classes=_names_of(classes, defaults.classes, width),
        multi_label=written is not None and written.multi_label,
    )
    return model, spec


def _load_start(model: nn.Module, start: _Start, name: str, *, fresh_head: bool) -> None:
    subject = f"{str(start.path)!r} does not fit {name!r}{start.origin}"
    try:
        kept = fit_tensors(model, start.tensors, subject=subject, fresh_head=fresh_head)
    except ModelError as error:
        # What dropkd wrote itself says what it is.
        other = None if start.origin else recognise_network(start.tensors, in_place_of=model)
        if other is None or other == name:
            raise
        raise ModelError(f"{error}\nThese are the weights of {other!r}: '{other}:{start.path}'.") from error
    if kept:
        _logger.warning("%s has another number of classes; %s start at random values.", start.path, " and ".join(kept))


def _merge_defaults(defaults: Defaults, written: ModelSpec | None) -> Defaults:
    if written is None:
        return defaults
    return Defaults(
        image_size=written.image_size,
        num_classes=written.num_classes,
        mean=written.mean,
        std=written.std,
        interpolation=written.interpolation,
        crop_fraction=written.crop_fraction,
        classes=written.classes,
    )


def _options_of(written: ModelSpec | None, size: tuple[int, int]) -> Mapping[str, Any]:
    """Return the options in the file, without the image size where another one is wanted."""
    if written is None:
        return {}
    sized = () if written.image_size == size else ("img_size", "image_size")
    return {key: value for key, value in written.options.items() if key not in sized}


def _names_of(classes: Sequence[str] | None, known: Sequence[str] | None, width: int) -> tuple[str, ...] | None:
    if classes is not None:
        return tuple(classes)
    return tuple(known) if known is not None and len(known) == width else None


def _to_json(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as they come back from a file."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(options)))
    except (TypeError, ValueError) as error:
        raise ModelError(f"The options of {name!r} must be numbers, texts and lists, got {options!r}.") from error
    return plain
