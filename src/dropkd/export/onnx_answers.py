"""An ONNX file as a function from what it is fed to logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from dropkd.export.preparing import INPUT, OUTPUT

__all__ = ["Answer", "open_file"]

Answer = Callable[[NDArray[Any]], NDArray[Any]]


def open_file(file: str | bytes, threads: int) -> Answer:
    """Return what onnxruntime says of an ONNX file, given by its place or by its content."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def answer(inputs: NDArray[Any]) -> NDArray[Any]:
        logits: NDArray[Any] = session.run([OUTPUT], {INPUT: inputs})[0]
        return logits

    return answer
