"""PyTorch's own exported program, ``pt2``."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from dropkd.export.formats.capturing import capture
from dropkd.export.formats.format import Answering, Format, FormatOptions, texts_of
from dropkd.export.formats.quiet import held_back
from dropkd.export.preparing import Prepared

__all__ = ["ProgramFile"]


class ProgramFile(Format):
    """The archive of ``torch.export``; what is known of the model lies in it as ``dropkd.json``."""

    name = "pt2"
    suffix = ".pt2"
    runs_by = "torch"

    def write(self, prepared: Prepared, path: Path, options: FormatOptions) -> None:
        """Write one archive with the weights in it."""
        program = capture(prepared)
        with held_back("torch.export"), path.open("wb") as file:
            torch.export.save(program, file, extra_files={"dropkd.json": json.dumps(texts_of(self.describe(prepared)))})

    def open(self, path: Path) -> Answering:
        """Return what the program says."""
        with path.open("rb") as file, torch.no_grad():
            model = torch.export.load(file).module()
        return lambda inputs: model(inputs).detach()
