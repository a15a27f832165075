"""OpenVINO's pair of files: the graph as ``.xml``, its weights beside it as ``.bin``."""

from __future__ import annotations

from pathlib import Path

import torch

from dropkd.export.formats.capturing import capture
from dropkd.export.formats.format import Answering, Format, FormatOptions, texts_of
from dropkd.export.formats.quiet import held_back
from dropkd.export.preparing import INPUT, OUTPUT, Prepared

__all__ = ["OpenVINOFile"]


class OpenVINOFile(Format):
    """OpenVINO's own converter and runtime; what is known of the model stands in the graph under ``dropkd``."""

    name = "openvino"
    suffix = ".xml"
    libraries = ("openvino",)
    extra = "openvino"
    runs_by = "openvino"

    def write(self, prepared: Prepared, path: Path, options: FormatOptions) -> None:
        """Write both files, the weights in single precision."""
        import openvino

        program = capture(prepared)
        with held_back("openvino"):
            # The size of the images is said again: only that of the batch is free.
            free = openvino.PartialShape([-1, *prepared.example.shape[1:]])
            model = openvino.convert_model(program, input=[free])
        model.inputs[0].get_tensor().set_names({INPUT})
        model.outputs[0].get_tensor().set_names({OUTPUT})
        for key, value in texts_of(self.describe(prepared)).items():
            model.set_rt_info(value, ["dropkd", key])
        openvino.save_model(model, path, compress_to_fp16=False)

    def open(self, path: Path) -> Answering:
        """Return what OpenVINO says on the CPU, counting in single precision whatever the CPU would rather do."""
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        model = openvino.Core().compile_model(path, "CPU", settings)
        # A copy: the next answer is written over this one.
        return lambda inputs: torch.from_numpy(model(inputs.numpy())[OUTPUT].copy())
