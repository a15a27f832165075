"""Files and networks as functions from what the exported model is fed to logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray

from dropkd.export.deployed import DeployedModel
from dropkd.export.preparing import INPUT, OUTPUT
from dropkd.models.tapped import TappedNetwork

__all__ = ["Answer", "open_file", "open_model", "open_network"]

Answer = Callable[[NDArray[Any]], NDArray[Any]]


def open_file(content: bytes, threads: int) -> Answer:
    """Return what onnxruntime says of an ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def answer(inputs: NDArray[Any]) -> NDArray[Any]:
        logits: NDArray[Any] = session.run([OUTPUT], {INPUT: inputs})[0]
        return logits

    return answer


def open_model(model: Any) -> Answer:
    """Return what onnxruntime says of an ONNX model in memory."""
    return open_file(model.SerializeToString(), torch.get_num_threads())


def open_network(network: TappedNetwork, module: DeployedModel) -> Answer:
    """Return what a network says.

    Args:
        network: in evaluation mode.
        module: the exported module, which knows whether it is fed pixels or normalised numbers.
    """

    @torch.no_grad()
    def answer(inputs: NDArray[Any]) -> NDArray[Any]:
        images = torch.from_numpy(inputs)
        logits: NDArray[Any] = network.model(module.normalize(images) if module.takes_pixels else images).numpy()
        return logits

    return answer
