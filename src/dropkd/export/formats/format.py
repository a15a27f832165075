"""What one kind of exported file has to be able to do."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from dropkd.errors import ConfigError
from dropkd.export.preparing import Prepared

__all__ = ["Answering", "Format", "FormatOptions", "texts_of"]

# From what the model is fed to its logits.
Answering = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FormatOptions:
    """What the user may ask of a kind of file.

    Args:
        opset: version of ONNX's operators; None: the exporter's own.
        samples: how many images of the run's data are put on a web page.
    """

    opset: int | None = None
    samples: int = 6


class Format(ABC):
    """A kind of exported file, or of a folder: writes it, and opens it again to be compared.

    ``name`` is the user's word for it and ``suffix`` ends the file's name. ``libraries`` are the modules that it needs
    beside torch, ``extra`` is the extra of dropkd that brings them, and ``runs_by`` is the library that the file was
    compared by. ``remark`` is said whenever it is written. Where it ``is_folder``, any new
    name will do for it.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = "export"
    runs_by: ClassVar[str]
    remark: ClassVar[str] = ""
    is_folder: ClassVar[bool] = False

    def check(self, options: FormatOptions) -> None:
        """Refuse what can't be, before any work.

        Raises:
            ConfigError: a library is not installed, or an option is not this format's or out of range.
        """
        for library in self.libraries:
            if find_spec(library) is None:
                raise ConfigError(
                    f"Writing {self.name} needs {library!r}, which is not installed: pip install 'dropkd[{self.extra}]'"
                )

    def say_why_not_run(self) -> str | None:
        """Return why such a file can't be run on this machine, so not be compared either, or None where it can."""
        return None

    def batch_of(self, prepared: Prepared) -> str:
        """Return how many images the file takes at once; ``any`` for any number."""
        return "any"

    def describe(self, prepared: Prepared) -> dict[str, Any]:
        """Return what is to stand in the file's metadata."""
        return {**prepared.facts, "input": {**prepared.facts["input"], "batch": self.batch_of(prepared)}}

    @abstractmethod
    def write(self, prepared: Prepared, path: Path, options: FormatOptions) -> None:
        """Write the model to ``path``, and what else belongs to it into the same folder, which is empty at first."""

    @abstractmethod
    def open(self, path: Path) -> Answering:
        """Return what the file answers. It reads the file at once: that may be gone afterwards."""


def texts_of(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return what is known of a model as metadata of texts: whatever is no text is JSON.

    Example:
        >>> texts_of({"model": "resnet18", "classes": ["cat", "dog"]})
        {'model': 'resnet18', 'classes': '["cat", "dog"]'}
    """
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
