"""Teachers of which nothing is known but their logits: TorchScript and ONNX files, Python functions."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dropkd.contracts import Outputs, Shapes
from dropkd.errors import ModelError
from dropkd.models.hooks import find_logits
from dropkd.models.network import Network
from dropkd.models.preprocessing import Preprocessing
from dropkd.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec, parse_image_size, to_triple

__all__ = ["CalledTeacher", "LogitTeacher", "as_module", "is_torchscript", "read_torchscript", "wrap_callable"]


class LogitTeacher(Network):
    """Answers with logits alone: it has no maps, and its embedding is empty.

    Args:
        model: gives logits (B, K) for normalised images.
        spec: the model's size and preprocessing; 0 classes stand for as many as it has logits.

    Raises:
        ModelError: the model can't take images of that size, or gives no logits.
    """

    def __init__(self, model: nn.Module, spec: ModelSpec) -> None:
        preprocessing = Preprocessing.beside(model, spec)
        count = _count_logits(model, preprocessing, spec)
        if spec.num_classes not in (0, count):
            raise ModelError(f"{spec.name!r} gives {count} logits, not {spec.num_classes}.")
        super().__init__(model, replace(spec, num_classes=count), Shapes(count, (), 0))
        self.preprocessing = preprocessing
        self.eval()

    def forward(
        self, images: Tensor, *, maps: bool = True, preactivations: bool = False, crop: bool | None = None
    ) -> Outputs:
        """Return the answer to a batch of images; see :meth:`dropkd.models.Network.forward`."""
        pixels = self.preprocessing(images, crop=not self.training if crop is None else crop)
        logits = _ask(self.model, pixels)
        return Outputs(logits, (), logits.new_zeros(len(logits), 0))


def _ask(model: nn.Module, pixels: Tensor) -> Tensor:
    logits = find_logits(model(pixels)).to(pixels.device)
    if len(logits) != len(pixels):
        raise ModelError(f"it gives {len(logits)} rows of logits for {len(pixels)} images.")
    return logits


def _count_logits(model: nn.Module, preprocessing: Preprocessing, spec: ModelSpec) -> int:
    """Return the number of logits that a model gives for images of the size that it is fed."""
    height, width = spec.image_size
    images = torch.rand(2, 3, height, width, device=preprocessing.mean.device)
    model.eval()
    try:
        with torch.no_grad():
            return _ask(model, preprocessing(images, crop=True)).shape[1]
    except ModelError as error:
        raise ModelError(f"{spec.name!r} is no teacher: {error}") from error
    except Exception as error:
        raise ModelError(
            f"{spec.name!r} can't take images of shape (2, 3, {height}, {width}) ({type(error).__name__}: "
            f"{error}). Say by teacher.image_size what size it is fed."
        ) from error


class CalledTeacher(nn.Module):
    """A function from images to logits in the place of a module.

    Args:
        call: takes images (B, 3, H, W), RGB in 0..1, and gives logits (B, K), as a tensor or as an array.
    """

    def __init__(self, call: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.call = call

    def forward(self, pixels: Tensor) -> Any:
        """Return what the function answers; an array as a tensor."""
        answer = self.call(pixels)
        return torch.as_tensor(answer) if hasattr(answer, "__array__") and not isinstance(answer, Tensor) else answer


def wrap_callable(
    call: Callable[[Tensor], Any],
    *,
    image_size: int | Sequence[int],
    num_classes: int | None = None,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    interpolation: str = "bilinear",
    crop_fraction: float = 1.0,
    name: str | None = None,
    classes: Sequence[str] | None = None,
) -> Network:
    """Make a teacher of any function from images to logits, such as a service or another framework's model.

    Only methods that read logits alone can learn from it.

    Args:
        call: takes images (B, 3, H, W), RGB in 0..1 less ``mean`` over ``std``, and gives logits (B, K).
        image_size: side, or height and width, that it is fed.
        num_classes: number of logits; checked where given.
        mean: per channel, of RGB values in 0..1; subtracted.
        std: per channel, of RGB values in 0..1; divided by.
        interpolation: ``bilinear``, ``bicubic`` or ``nearest``.
        crop_fraction: the centre part, per side, that it is shown in evaluation.
        name: how it is called in messages; by default the function's own name.
        classes: names of the classes in the order of the logits.

    Raises:
        ModelError: it can't take such images, or gives no logits (B, K).

    Example:
        >>> brightness = lambda images: images.mean((2, 3))
        >>> wrap_callable(brightness, image_size=8, name="brightness").shapes.logits
        3
    """
    size = parse_image_size(image_size)
    if size is None:
        raise ModelError("A function needs image_size, the size of the images that it is fed.")
    model = call if isinstance(call, nn.Module) else CalledTeacher(call)
    spec = ModelSpec(
        name=name or str(getattr(call, "__name__", type(call).__name__)),
        num_classes=num_classes or 0,
        image_size=size,
        mean=to_triple(mean),
        std=to_triple(std),
        interpolation=interpolation,
        crop_fraction=crop_fraction,
        classes=None if classes is None else tuple(classes),
    )
    return LogitTeacher(model, spec)


def as_module(teacher: object) -> nn.Module | None:
    """Return a teacher that is given itself, a function as a module; None for one that is named."""
    if isinstance(teacher, nn.Module):
        return teacher
    return CalledTeacher(teacher) if callable(teacher) else None


def is_torchscript(path: str | Path) -> bool:
    """Return whether a file is an archive of TorchScript: it holds code beside the weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
    return any("/code/" in name for name in names) and any(name.endswith("/constants.pkl") for name in names)


def read_torchscript(path: str | Path, *, image_size: int | Sequence[int], num_classes: int | None = None) -> Network:
    """Return the model of a TorchScript archive as a teacher that is fed images normalised as for ImageNet.

    Note:
        No Python and no pickled object of the file is executed. But the file is a program in TorchScript's own
        language, which may call any of torch's operators, those that write files among them: take it from people you
        trust.

    Raises:
        ModelError: the file is damaged, or can't take such images.
    """
    try:
        with warnings.catch_warnings():
            # Later versions of torch advise against writing such files; people have them all the same.
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.load.* is deprecated")
            model = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:
        raise ModelError(f"{str(path)!r} is damaged or no TorchScript ({type(error).__name__}: {error}).") from error
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return wrap_callable(
        model,
        image_size=image_size,
        num_classes=num_classes,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        name=str(path),
    )
