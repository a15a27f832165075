"""The one model of a repository, as a library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from dropkd.errors import ModelError
from dropkd.models.checkpoint import read_tensors
from dropkd.models.fitting import fit_tensors
from dropkd.models.hub_files import RepositoryFiles, read_json
from dropkd.models.library import Defaults, Library
from dropkd.models.transformers_library import TransformersLibrary, load_transformers_tensors

__all__ = ["RepositoryLibrary", "read_weights"]

# Files of weights in the order in which they are looked for; what an index lists is read piece by piece.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


class RepositoryLibrary:
    """A library with one model: that of a repository.

    Args:
        files: of the repository.
        base: the library that builds the model.
        defaults: what the weights were trained for.
        options: of the model's constructor.
    """

    source = "hf"

    def __init__(
        self,
        files: RepositoryFiles,
        base: Library,
        defaults: Defaults,
        options: Mapping[str, Any],
    ) -> None:
        self._files = files
        self._base = base
        self._defaults = defaults
        self._options = options

    def names(self) -> tuple[str, ...]:
        """Return nothing: the model has its name from the repository."""
        return ()

    def has(self, name: str) -> bool:
        """Return whether the base has a model of that name."""
        return self._base.has(name)

    def defaults(self, name: str) -> Defaults:
        """Return what the weights were trained for."""
        return self._defaults

    def build(
        self,
        name: str,
        *,
        num_classes: int,
        image_size: tuple[int, int],
        options: dict[str, Any],
        pretrained: bool,
    ) -> tuple[nn.Module, dict[str, Any]]:
        """Return the model and its options; see :class:`~dropkd.models.library.Library`."""
        sized = () if image_size == self._defaults.image_size else ("img_size", "image_size")
        own = {key: value for key, value in self._options.items() if key not in sized}
        model, used = self._base.build(
            name, num_classes=num_classes, image_size=image_size, options={**own, **options}, pretrained=False
        )
        if pretrained:
            # A classifier of the wanted size is the repository's own, and has to be there.
            fresh_head = num_classes != self._defaults.num_classes
            subject = f"The weights of {self._files.source} do not fit its config.json"
            tensors = read_weights(self._files)
            fit = load_transformers_tensors if isinstance(self._base, TransformersLibrary) else fit_tensors
            fit(model, tensors, subject=subject, fresh_head=fresh_head)
        return model, used


def read_weights(files: RepositoryFiles, names: Sequence[str] = _WEIGHTS) -> dict[str, Tensor]:
    """Return the tensors of the first of these files that a repository has, those of all pieces where it is an index.

    Raises:
        ModelError: it has none, or one is damaged.
    """
    for name in names:
        path = files.find(name)
        if path is None:
            continue
        if not name.endswith(".index.json"):
            return read_tensors(path)
        tensors: dict[str, Tensor] = {}
        for piece in sorted(set(read_json(path).get("weight_map", {}).values())):
            found = files.find(piece)
            if found is None:
                raise ModelError(files.explain_absence(piece))
            tensors.update(read_tensors(found))
        return tensors
    raise ModelError(files.explain_absence(*(name for name in names if not name.endswith(".index.json"))))
