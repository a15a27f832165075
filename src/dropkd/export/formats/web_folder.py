"""A folder with one page that runs the student in the visitor's browser."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from dropkd.export.formats.format import Answering, FormatOptions
from dropkd.export.formats.onnx_file import OnnxFile
from dropkd.export.onnx_answers import open_file
from dropkd.export.preparing import Prepared
from dropkd.export.web import read_model, write_folder
from dropkd.export.web.samples import choose_samples

__all__ = ["WebFolder"]


class WebFolder(OnnxFile):
    """The ONNX file inside a page, with onnxruntime's build for browsers; it is compared by onnxruntime's own."""

    name = "web"
    suffix = "-web"
    is_folder = True
    remark = (
        "Open index.html in it, or put the folder on any web server. The samples on the page are images of the data."
    )

    def write(self, prepared: Prepared, path: Path, options: FormatOptions) -> None:
        """Write the folder."""
        with tempfile.TemporaryDirectory() as workshop:
            model = Path(workshop) / "model.onnx"
            super().write(prepared, model, options)
            content = model.read_bytes()
        samples = []
        if options.samples:
            data = prepared.run.open_data()
            split = next(part for part in data.splits if part.name == prepared.split)
            samples = choose_samples(split, prepared.spec.classes or split.classes, options.samples)
        write_folder(path, content, prepared.facts, samples)

    def open(self, path: Path) -> Answering:
        """Return what onnxruntime says of the model in the folder."""
        answer = open_file(read_model(path), torch.get_num_threads())
        return lambda inputs: torch.from_numpy(answer(inputs.numpy()))
