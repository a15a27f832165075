"""ONNX, in one file."""

from __future__ import annotations

from pathlib import Path

import torch

from dropkd.errors import ModelError
from dropkd.export.formats.format import Answering, Format, FormatOptions, held_back, texts_of
from dropkd.export.preparing import BATCH, INPUT, OUTPUT, Prepared

__all__ = ["OnnxFile"]


class OnnxFile(Format):
    """ONNX by PyTorch's exporter, run by onnxruntime."""

    name = "onnx"
    suffix = ".onnx"
    libraries = ("onnx", "onnxscript", "onnxruntime")

    def write(self, prepared: Prepared, path: Path, options: FormatOptions) -> None:
        """Write one file with the weights in it."""
        import onnx

        with held_back("onnxscript", "torch.onnx"):
            program = torch.onnx.export(
                prepared.module, (prepared.example,), dynamo=True, verbose=False, opset_version=options.opset,
                dynamic_shapes=({0: torch.export.Dim(BATCH)},), input_names=[INPUT], output_names=[OUTPUT],
            )  # fmt: skip
        if program is None:
            raise ModelError("torch.onnx gave no program.")
        model = program.model_proto
        for key, value in texts_of(prepared.facts).items():
            model.metadata_props.add(key=key, value=value)
        onnx.checker.check_model(model)
        # All in one file: weights beside it are lost when it is moved.
        path.write_bytes(model.SerializeToString())

    def open(self, path: Path) -> Answering:
        """Return what onnxruntime says."""
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        return lambda inputs: torch.from_numpy(session.run([OUTPUT], {INPUT: inputs.numpy()})[0])
