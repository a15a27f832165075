"""ONNX, in one file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from dropkd.errors import ConfigError, ModelError
from dropkd.export.formats.capturing import capture, name_layer
from dropkd.export.formats.format import Answering, Format, FormatOptions, texts_of
from dropkd.export.formats.quiet import held_back
from dropkd.export.onnx_answers import open_file
from dropkd.export.preparing import INPUT, OUTPUT, Prepared
from dropkd.export.standalone import write_script

__all__ = ["OnnxFile"]

# PyTorch's exporter is written for this one and later ones; it can't go back to earlier ones.
_OLDEST = 18
# What PyTorch notes on each node: the lines of code, with the paths that they have on the machine that exports.
_PLACES = "pkg.torch.onnx.stack_trace"


class OnnxFile(Format):
    """ONNX by PyTorch's exporter, run by onnxruntime."""

    name = "onnx"
    suffix = ".onnx"
    libraries = ("onnx", "onnxscript", "onnxruntime")
    runs_by = "onnxruntime"

    def check(self, options: FormatOptions) -> None:
        """See :meth:`Format.check`."""
        super().check(options)
        import onnx

        newest = onnx.defs.onnx_opset_version()
        if options.opset is not None and not _OLDEST <= options.opset <= newest:
            why = (
                f"too old: PyTorch's exporter writes {_OLDEST} and later ones"
                if options.opset < _OLDEST
                else f"newer than the installed onnx knows, {newest} at most"
            )
            raise ConfigError(f"ONNX opset {options.opset} is {why}. Give {_OLDEST} to {newest}, or none.")

    def write(self, prepared: Prepared, path: Path, options: FormatOptions) -> None:
        """Write one file with the weights in it, and a program that uses it."""
        import onnx

        program = capture(prepared)
        model = _translate(program, options.opset)
        versions = {entry.domain: entry.version for entry in model.opset_import}
        if options.opset is not None and versions.get("") != options.opset:
            raise ModelError(
                f"ONNX opset {options.opset} lacks what {prepared.spec.name!r} needs; it can be written as "
                f"{versions.get('')}."
            )
        for key, value in texts_of(self.describe(prepared)).items():
            model.metadata_props.add(key=key, value=value)
        _forget_places(model)
        onnx.checker.check_model(model)
        # All in one file: weights beside it are lost when it is moved.
        path.write_bytes(model.SerializeToString())
        write_script(path.parent)

    def open(self, path: Path) -> Answering:
        """Return what onnxruntime says."""
        answer = open_file(str(path), torch.get_num_threads())
        return lambda inputs: torch.from_numpy(answer(inputs.numpy()))


def _translate(program: ExportedProgram, opset: int | None) -> Any:
    """Return the ONNX model of a captured one.

    Raises:
        ModelError: ONNX has no such operator; it is named, and its layer.
    """
    try:
        with held_back("onnxscript", "torch.onnx"):
            written = torch.onnx.export(
                program, dynamo=True, verbose=False, opset_version=opset, input_names=[INPUT], output_names=[OUTPUT]
            )
    except torch.onnx.OnnxExporterError as error:
        told = _explain(program, error)
        if told is None:
            raise
        raise ModelError(told) from error
    if written is None:
        raise ModelError("torch.onnx gave no program.")
    return written.model_proto


def _explain(program: ExportedProgram, error: Exception) -> str | None:
    """Return in words which operator of which layer has no counterpart in ONNX, where that is the reason."""
    operator = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", str(error))
    if operator is None:
        return None
    layer = name_layer(program, operator[1])
    where = f" in the layer {layer}" if layer else ""
    return (
        f"ONNX has no operator for {operator[1]!r}{where}. Replace it in the model, or export another format: --to pt2."
    )


def _forget_places(model: Any) -> None:
    """Take the places where the code lay out of a file that others get."""
    parts = [*model.graph.node, *model.graph.value_info, *(node for f in model.functions for node in f.node)]
    for part in parts:
        kept = [entry for entry in part.metadata_props if entry.key != _PLACES]
        del part.metadata_props[:]
        part.metadata_props.extend(kept)
