"""TorchScript, for programs that load nothing newer."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, cast

import torch

from dropkd.export.formats.format import Answering, Format, FormatOptions, texts_of
from dropkd.export.formats.quiet import held_back
from dropkd.export.preparing import Prepared

__all__ = ["TorchScriptFile"]

# PyTorch gives it no types.
_jit: Any = torch.jit


class TorchScriptFile(Format):
    """A traced module; what is known of the model lies in it as extra files, one for each fact."""

    name = "torchscript"
    suffix = ".pt"
    runs_by = "torch"
    remark = "PyTorch calls TorchScript deprecated: for anything new take onnx or pt2."

    def write(self, prepared: Prepared, path: Path, options: FormatOptions) -> None:
        """Write one archive with the weights in it, frozen: of the layers only what they compute is left."""
        with held_back("torch.jit"), torch.no_grad():
            traced = _jit.freeze(_jit.trace(prepared.module, prepared.example))
            whole = path.with_name(f"whole-{path.name}")
            _jit.save(traced, str(whole), _extra_files=texts_of(self.describe(prepared)))

        _drop_places(whole, path)
        whole.unlink()

    def open(self, path: Path) -> Answering:
        """Return what the module says."""
        with held_back("torch.jit"):
            module = _jit.load(str(path), map_location="cpu")

        def answer(inputs: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return cast("torch.Tensor", module(inputs))

        return answer


def _drop_places(source: Path, target: Path) -> None:
    """Copy the archive without its files for debuggers: they name where each line of Python lies on this machine."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                new.writestr(entry.filename, old.read(entry))
