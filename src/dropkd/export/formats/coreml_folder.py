"""Core ML's package, a folder that ends in ``.mlpackage``."""

from __future__ import annotations

import logging
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dropkd.errors import ModelError
from dropkd.export.formats.capturing import capture
from dropkd.export.formats.format import Answering, Format, FormatOptions, texts_of
from dropkd.export.formats.quiet import held_back
from dropkd.export.parity import check_parity
from dropkd.export.preparing import INPUT, OUTPUT, Prepared

__all__ = ["CoreMLFolder"]

# Core ML wants an end to what is free.
_LARGEST_BATCH = 256


class CoreMLFolder(Format):
    """An ML program by coremltools, in single precision, for iOS 16, macOS 13 and later.

    It is written on any system and runs on macOS alone. Elsewhere the graph that coremltools is given is compared with
    the network, and how many numbers it wrote down is counted. With the preprocessing inside it takes an RGB image of
    the right size, as a camera gives it, one at a time.
    """

    name = "coreml"
    suffix = ".mlpackage"
    libraries = ("coremltools",)
    extra = "coreml"
    runs_by = "coremltools"

    def say_why_not_run(self) -> str | None:
        """Core ML is a part of Apple's systems."""
        system = platform.system()
        return None if system == "Darwin" else f"Core ML runs on macOS alone, and this is {system}"

    def batch_of(self, prepared: Prepared) -> str:
        """Return how many images it takes."""
        return "1" if prepared.module.takes_pixels else f"1 to {_LARGEST_BATCH}"

    def write(self, prepared: Prepared, path: Path, options: FormatOptions) -> None:
        """Write the folder."""
        coremltools = _import()
        program = capture(prepared, free_batch=not prepared.module.takes_pixels, as_floats=True)
        with held_back("coremltools"):
            program = program.run_decompositions({})
            check_parity(prepared.expected, _answering(program.module(), prepared), prepared.inputs.float(), "captured")
            model = coremltools.convert(
                program, convert_to="mlprogram", minimum_deployment_target=coremltools.target.iOS16,
                compute_precision=coremltools.precision.FLOAT32, skip_model_load=True,
                inputs=[_describe_input(coremltools, prepared)], outputs=[coremltools.TensorType(name=OUTPUT)],
            )  # fmt: skip
            _check_weights(coremltools, model, prepared)
        facts = self.describe(prepared)
        model.short_description = f"{prepared.spec.name} for {len(facts['classes'])} classes"
        model.license, model.author = facts["licence"], facts["made_with"]
        model.user_defined_metadata.update(texts_of(facts))
        model.save(str(path))

    def open(self, path: Path) -> Answering:
        """Return what Core ML says on the processor, in single precision."""
        coremltools = _import()
        model = coremltools.models.MLModel(str(path), compute_units=coremltools.ComputeUnit.CPU_ONLY)
        takes_image = model.get_spec().description.input[0].type.HasField("imageType")

        def answer(inputs: Tensor) -> Tensor:
            if not takes_image:
                return torch.from_numpy(model.predict({INPUT: inputs.numpy()})[OUTPUT])
            from PIL import Image

            images = [Image.fromarray(pixels.permute(1, 2, 0).numpy()) for pixels in inputs]
            return torch.cat([torch.from_numpy(model.predict({INPUT: image})[OUTPUT]) for image in images])

        return answer


def _import() -> Any:
    """Return coremltools, without its remarks on which of its parts are not for this system."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with held_back():
            import coremltools
    finally:
        logging.disable(before)
    return coremltools


def _describe_input(coremltools: Any, prepared: Prepared) -> Any:
    _, *size = prepared.example.shape
    if prepared.module.takes_pixels:
        return coremltools.ImageType(name=INPUT, shape=(1, *size), color_layout=coremltools.colorlayout.RGB)
    return coremltools.TensorType(name=INPUT, shape=(coremltools.RangeDim(1, _LARGEST_BATCH, default=1), *size))


def _answering(module: nn.Module, prepared: Prepared) -> Answering:
    """Return what a captured graph says, of one image at a time where it takes no more."""

    @torch.no_grad()
    def answer(inputs: Tensor) -> Tensor:
        parts = [image[None] for image in inputs] if prepared.module.takes_pixels else [inputs]
        return torch.cat([module(part) for part in parts])

    return answer


def _check_weights(coremltools: Any, model: Any, prepared: Prepared) -> None:
    """See that it holds the student's numbers and no more.

    Raises:
        ModelError: there are fewer than the layers have, or more than the student has.
    """
    found = coremltools.optimize.coreml.get_weights_metadata(model, weight_threshold=0)
    numbers = sum(weight.val.size for weight in found.values() if weight.val.dtype.kind == "f")
    # Norms are folded into the layers before them: of those nothing need be left.
    least = sum(p.numel() for p in prepared.module.parameters() if p.ndim > 1)
    most = sum(v.numel() for v in prepared.module.state_dict().values())
    if not least <= numbers <= most:
        raise ModelError(f"The coreml file holds {numbers:,} numbers; {least:,} to {most:,} are the student's.")
