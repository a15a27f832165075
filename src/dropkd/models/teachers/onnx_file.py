"""ONNX files as teachers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.errors import ModelError
from dropkd.models.network import Network
from dropkd.models.spec import IMAGENET_MEAN, IMAGENET_STD, parse_image_size
from dropkd.models.teachers.logits_only import wrap_callable

__all__ = ["read_onnx"]

# Bytes in 0..255 are what a file takes that normalises them itself.
_BYTES = "tensor(uint8)"
_TYPES = {_BYTES: np.uint8, "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


def read_onnx(path: str | Path, *, image_size: int | Sequence[int] | None, num_classes: int | None = None) -> Network:
    """Return the model of an ONNX file as a teacher.

    A file that ``dropkd export`` wrote says itself how it is fed; any other one gets images normalised as for ImageNet,
    or RGB bytes in 0..255 where that is what it takes.

    Args:
        path: the file; its first output are the logits.
        image_size: side, or height and width, that it is fed, where the file leaves that open.
        num_classes: number of logits; checked where given.

    Raises:
        ModelError: onnxruntime is not installed, the file is damaged, its input are no images, or it is made for
            another size.
    """
    model = _OnnxModel(Path(path))
    asked = parse_image_size(image_size)
    size = tuple(
        fixed if fixed is not None else (asked[side] if asked is not None else None)
        for side, fixed in enumerate(model.fixed_size)
    )
    if size[0] is None or size[1] is None:
        raise ModelError(f"{str(path)!r} takes images of any size: say by teacher.image_size which it is fed.")
    mean, std = ((0.0,) * 3, (1.0,) * 3) if model.takes_bytes else (IMAGENET_MEAN, IMAGENET_STD)
    said = model.described_input
    if said and not model.takes_bytes:
        mean, std = said["mean"], said["std"]
    return wrap_callable(
        model, image_size=(size[0], size[1]), num_classes=num_classes, mean=mean, std=std, name=str(path),
        crop_fraction=said["crop"][0] / said["frame"][0] if said else 1.0, classes=model.classes,
    )  # fmt: skip


class _OnnxModel(nn.Module):
    """An ONNX file, run by onnxruntime on its first input.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._session = _open_session(path)
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        numbers = [length if isinstance(length, int) else None for length in shape]
        fits = len(inputs) == 1 and len(shape) == 4 and numbers[1] in (3, None) and inputs[0].type in _TYPES
        if not fits:
            got = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in inputs)
            raise ModelError(
                f"{str(path)!r} must take images as its one input, floating point or bytes of shape (B, 3, H, W), "
                f"got {got}."
            )
        self._name, self._dtype = inputs[0].name, _TYPES[inputs[0].type]
        self._batch = numbers[0]
        self.takes_bytes = inputs[0].type == _BYTES
        said = self._session.get_modelmeta().custom_metadata_map
        self.described_input = _read_description(said)
        self.classes: list[str] | None = (json.loads(said["classes"]) or None) if self.described_input else None
        self.fixed_size = (numbers[2], numbers[3])

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the first output, in as many calls as the file's own batch size asks for."""
        images = pixels.detach().cpu()
        step = self._batch or len(images)
        answers = [self._run(part, step) for part in torch.split(images, step)]
        return torch.cat(answers).to(device=pixels.device, dtype=torch.float32)

    def _run(self, images: Tensor, step: int) -> Tensor:
        # A file that was exported for a batch of n takes no fewer.
        padded = F.pad(images, (0, 0, 0, 0, 0, 0, 0, step - len(images)))
        if self.takes_bytes:
            padded = (padded * 255).round()
        (answer, *_) = self._session.run(None, {self._name: padded.numpy().astype(self._dtype)})
        return torch.as_tensor(answer)[: len(images)]


def _read_description(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return how the images come to a file that ``dropkd export`` wrote; nothing of any other file."""
    if not metadata.get("made_with", "").startswith("dropkd"):
        return {}
    described: dict[str, Any] = json.loads(metadata["input"])
    return described


def _open_session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(
            f"Learning from {str(path)!r} needs onnxruntime, which is not installed: pip install 'dropkd[onnx]'."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise ModelError(f"{str(path)!r} is damaged or no ONNX file ({type(error).__name__}: {error}).") from error
