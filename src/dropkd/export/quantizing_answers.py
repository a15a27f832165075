"""Files and networks as functions from what the exported model is fed to logits."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray

from dropkd.export.deployed import DeployedModel
from dropkd.export.onnx_answers import Answer, open_file
from dropkd.models.tapped import TappedNetwork

__all__ = ["open_model", "open_network"]


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
