"""Repositories that ``dropkd push`` filled: weights with all that is needed to build the network again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dropkd.errors import ModelError
from dropkd.models.hub_files import RepositoryFiles, read_json
from dropkd.models.library import Defaults, Library
from dropkd.models.repository_library import RepositoryLibrary
from dropkd.models.spec import ModelSpec

__all__ = ["CONFIG_FILE", "PUSHED", "WEIGHTS_FILE", "FindLibrary", "find_pushed", "open_pushed"]

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
# The key of the former under which it is said what the network is.
PUSHED = "dropkd"

FindLibrary = Callable[[str], tuple[Library, str, str]]


def find_pushed(files: RepositoryFiles) -> Path | None:
    """Return the weights in a repository that ``dropkd push`` filled, which say what they are; None for any other one.

    Raises:
        ModelError: the repository can't be had, or lacks the weights that it speaks of.
    """
    path = files.find(CONFIG_FILE)
    config = {} if path is None else read_json(path)
    if PUSHED not in config:
        return None
    weights = files.find(WEIGHTS_FILE)
    if weights is None:
        raise ModelError(files.explain_absence(WEIGHTS_FILE))
    return weights


def _read_pushed_spec(config: Mapping[str, Any], source: str) -> ModelSpec:
    written = config[PUSHED]
    described = written.get("network") if isinstance(written, dict) else None
    if not isinstance(described, dict):
        raise ModelError(
            f"The {CONFIG_FILE} of {source} has a key {PUSHED!r} without the 'network' that it should tell of."
        )
    spec = ModelSpec.from_dict(described)
    if ":" in spec.name:
        # A network has a model's name; one that leads on to another repository is nobody's.
        raise ModelError(f"The {CONFIG_FILE} of {source} names no model that a library could have: {spec.name!r}.")
    return spec


def open_pushed(
    files: RepositoryFiles, config: Mapping[str, Any], find_library: FindLibrary
) -> tuple[Library, str, str]:
    """Return a library that has the network of such a repository, its name there, and the name that outlives it.

    Raises:
        ModelError: it is no library's, or the repository does not say what it is.
    """
    spec = _read_pushed_spec(config, files.source)
    if spec.name == "custom":
        raise ModelError(
            f"{files.source} holds the weights of a module that its owner wrote, which no library has: build the "
            "module, load the file by dropkd.load_weights, and give the module."
        )
    library, bare, lasting = find_library(spec.name)
    defaults = Defaults(
        image_size=spec.image_size,
        num_classes=spec.num_classes,
        mean=spec.mean,
        std=spec.std,
        interpolation=spec.interpolation,
        crop_fraction=spec.crop_fraction,
        pretrained=True,
        classes=spec.classes,
    )
    return RepositoryLibrary(files, library, defaults, spec.options), bare, lasting
