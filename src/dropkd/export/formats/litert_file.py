"""LiteRT's file, once TensorFlow Lite's: ``.tflite``."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from dropkd.export.formats.capturing import failing_layer
from dropkd.export.formats.format import Answering, Format, FormatOptions
from dropkd.export.formats.quiet import silenced
from dropkd.export.preparing import INPUT, OUTPUT, Prepared

__all__ = ["LiteRTFile"]


class LiteRTFile(Format):
    """LiteRT by litert-torch, run by ai-edge-litert.

    Its converter fixes the number of images: one at a time. What is known of the model is appended as a zip, where
    LiteRT's tools look for the files that belong to a model: ``dropkd.json``, and ``labels.txt`` with a class a line.
    """

    name = "tflite"
    suffix = ".tflite"
    libraries = ("litert_torch", "ai_edge_litert")
    extra = "litert"
    runs_by = "ai-edge-litert"

    def batch_of(self, prepared: Prepared) -> str:
        """Return how many images it takes."""
        return "1"

    def write(self, prepared: Prepared, path: Path, options: FormatOptions) -> None:
        """Write one file with the weights in it."""
        with failing_layer(prepared), silenced():
            import litert_torch

            model = litert_torch.convert(_Named(prepared.module), sample_kwargs={INPUT: prepared.inputs[:1]})
            model.export(str(path))
        facts = self.describe(prepared)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as files:
            files.writestr("dropkd.json", json.dumps(facts, indent=2))
            # A name with a line break in it would be two.
            files.writestr("labels.txt", "".join(" ".join(name.splitlines()) + "\n" for name in facts["classes"]))

    def open(self, path: Path) -> Answering:
        """Return what LiteRT says, of one image at a time."""
        with silenced():
            from ai_edge_litert.interpreter import Interpreter

            interpreter = Interpreter(model_content=path.read_bytes(), num_threads=torch.get_num_threads())
            interpreter.allocate_tensors()
            run = interpreter.get_signature_runner()

        def answer(inputs: Tensor) -> Tensor:
            answers = [run(**{INPUT: image[None].numpy()})[OUTPUT].copy() for image in inputs]
            return torch.cat([torch.from_numpy(logits) for logits in answers])

        return answer


class _Named(nn.Module):
    """Names its answer, so that the file does."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.eval()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {OUTPUT: self.module(images)}
