"""Repositories of models, ``hf:ORG/NAME`` on the hub or ``hf:FOLDER`` on disk, as libraries of one model each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dropkd.errors import ModelError
from dropkd.models.hub_files import FolderFiles, HubFiles, RepositoryFiles, read_json
from dropkd.models.library import Library, nearest_interpolation
from dropkd.models.pushed import PUSHED, FindLibrary, open_pushed
from dropkd.models.repository_library import RepositoryLibrary
from dropkd.models.sources import Source, parse_source
from dropkd.models.spec import to_triple
from dropkd.models.timm_library import TimmLibrary
from dropkd.models.transformers_images import read_image_recipe
from dropkd.models.transformers_library import (
    TransformersLibrary,
    complete_image_values,
    size_of_values,
)

__all__ = ["open_files", "open_repository"]

_CONFIG = "config.json"
# What transformers calls classes that nobody named.
_UNNAMED = "LABEL_"


def open_repository(text: str, find_library: FindLibrary) -> tuple[Library, str, str]:
    """Return a library that has the repository's one model, its name there, and the name that outlives the repository.

    Args:
        text: ``hf:ORG/NAME`` or ``hf:FOLDER``.
        find_library: finds the library of a model by its name.

    That name and the model's options say of the model all but its weights, so that what is trained from it is opened
    again without the repository.

    Raises:
        ModelError: the repository can't be had, or is none of timm's or of transformers' image classifiers.
    """
    files = open_files(parse_source(text))
    path = files.find(_CONFIG)
    if path is None:
        clip = files.find("open_clip_config.json")
        text = f" It is one of OpenCLIP: 'clip:{text}' makes a zero-shot teacher of it." if clip is not None else ""
        raise ModelError(f"{files.explain_absence(_CONFIG)}{text}")
    config = read_json(path)
    # First: what dropkd wrote itself is more exact than what it wrote for timm beside that.
    if PUSHED in config:
        return open_pushed(files, config, find_library)
    if "architecture" in config:
        return _open_timm(files, config)
    if "model_type" in config:
        return _open_transformers(files, config, path.parent)
    raise ModelError(
        f"{str(path)!r} is of no kind that is known: it has neither 'architecture' (timm) nor 'model_type' "
        f"(transformers) nor {PUSHED!r}, but {', '.join(list(config)[:10]) or 'nothing'}."
    )


def open_files(source: Source) -> RepositoryFiles:
    """Return where a repository's files are had from: its folder if there is one, else the hub.

    Args:
        source: its name is ``ORG/NAME`` or a folder, after ``hf:`` where the scheme is another.

    Raises:
        ModelError: it is neither.
    """
    place = source.name.removeprefix("hf:")
    shown = f"{'clip:' if source.scheme == 'clip' else ''}hf:"
    if Path(place).is_dir():
        return FolderFiles(Path(place), f"the folder {place!r}")
    parts = place.split("/")
    if Path(place).is_file() or len(parts) != 2 or not all(parts) or place.startswith((".", "~")):
        raise ModelError(
            f"{str(source)!r} names neither a folder that there is nor a repository of the hub: give it as "
            f"'{shown}ORG/NAME' or '{shown}FOLDER'."
        )
    return HubFiles(place, source.options.get("revision"), by_hand=f"{shown}FOLDER")


def _open_timm(files: RepositoryFiles, config: Mapping[str, Any]) -> tuple[Library, str, str]:
    architecture = str(config["architecture"])
    library = TimmLibrary()
    if not library.has(architecture):
        raise ModelError(f"{files.source} holds a model {architecture!r}, which the installed timm does not know.")
    # Older files have everything on one level.
    trained: Mapping[str, Any] = config.get("pretrained_cfg") or config
    own = library.defaults(architecture)
    count = config.get("num_classes", trained.get("num_classes", own.num_classes))
    size = trained.get("input_size")
    labels = config.get("label_names") or trained.get("label_names") or trained.get("labels")
    defaults = replace(
        own,
        image_size=(size[1], size[2]) if size else own.image_size,
        num_classes=int(count),
        mean=to_triple(trained.get("mean") or own.mean),
        std=to_triple(trained.get("std") or own.std),
        interpolation=nearest_interpolation(trained.get("interpolation") or own.interpolation),
        crop_fraction=float(trained.get("crop_pct") or own.crop_fraction),
        pretrained=True,
        classes=tuple(map(str, labels)) if isinstance(labels, list) and len(labels) == count else None,
    )
    # timm writes them among the options too; the number of classes is said above, and images have three channels.
    asked = config.get("model_args") or {}
    options = {key: value for key, value in asked.items() if key not in ("num_classes", "in_chans")}
    return RepositoryLibrary(files, library, defaults, options), architecture, f"timm/{architecture}"


def _open_transformers(files: RepositoryFiles, config: Mapping[str, Any], folder: Path) -> tuple[Library, str, str]:
    library, kind = TransformersLibrary(), str(config["model_type"])
    classes = [str(name) for name in config.get("architectures") or ()]
    if "auto_map" in config and not library.has(kind):
        raise ModelError(f"{files.source} brings Python code of its own ({kind!r}), which dropkd does not execute.")
    if not library.has(kind):
        raise ModelError(
            f"{files.source} holds {' and '.join(classes) or repr(kind)}, which is no image classifier of transformers."
        )
    count = _count_labels(config)
    options = {key: value for key, value in config.items() if key not in _NOT_OPTIONS}
    path = files.find("preprocessor_config.json")
    own = library.defaults(kind)
    size = size_of_values(kind, options) or own.image_size
    defaults = replace(own, image_size=size, num_classes=count, pretrained=True, classes=_read_classes(config, count))
    if path is not None:
        recipe = read_image_recipe(complete_image_values(path.parent, read_json(path)))
        defaults = replace(
            defaults,
            image_size=recipe.image_size or size,
            mean=recipe.mean,
            std=recipe.std,
            interpolation=recipe.interpolation,
            crop_fraction=recipe.crop_fraction,
        )
        if recipe.is_bgr:
            options["channel_order"] = "bgr"
    return RepositoryLibrary(files, library, defaults, options), kind, f"{library.source}/{kind}"


# Of a transformers configuration, what is said elsewhere or only tells where it came from.
_NOT_OPTIONS = (
    "model_type", "id2label", "label2id", "num_labels", "_num_labels", "transformers_version", "_name_or_path",
    "torch_dtype", "dtype", "auto_map", "problem_type",
)  # fmt: skip


def _count_labels(config: Mapping[str, Any]) -> int:
    """Return how many classes a configuration has; transformers' own number is 2 where nothing is said."""
    labels = config.get("id2label")
    if isinstance(labels, Mapping):
        return len(labels)
    return int(config.get("num_labels") or config.get("_num_labels") or 2)


def _read_classes(config: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    """Return the names of the classes in the order of the logits, or None where nobody named them."""
    labels = config.get("id2label")
    if not isinstance(labels, Mapping):
        return None
    names = {str(number): str(name) for number, name in labels.items()}
    ordered = tuple(names.get(str(number), "") for number in range(count))
    return ordered if all(ordered) and not all(name.startswith(_UNNAMED) for name in ordered) else None
