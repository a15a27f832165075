"""A network's answers to image files and to images in memory, in the words of its classes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dropkd.data import EvalLoader, Split
from dropkd.data.loaders import FrameChange
from dropkd.engine.evaluation import answer_split
from dropkd.engine.plan import evaluation_frame
from dropkd.errors import DataError
from dropkd.models.network import Network
from dropkd.prediction import Prediction, find_files, rank_classes

__all__ = ["frame_loader", "gather_images", "predict_images"]


def predict_images(
    network: Network,
    images: Sequence[str | Path | Image.Image],
    *,
    top: int = 5,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
) -> list[Prediction]:
    """Return a network's answer to each image.

    Args:
        network: in evaluation mode, on that device.
        images: image files, or images that Pillow has opened.
        top: how many classes to name for each.
        batch_size: images at a time.
        device: where the network is.

    Raises:
        DataError: there are none, or a file is missing or can't be read as an image.
    """
    split = gather_images(images)
    names = network.spec.classes or tuple(str(k) for k in range(network.shapes.logits))
    answers = answer_split(network, frame_loader(network, split, batch_size=batch_size), torch.device(device))
    several = network.spec.multi_label
    shares = answers.logits.sigmoid() if several else answers.logits.softmax(1)
    return rank_classes(split.paths, shares.numpy(), names, several=several, top=top)


def frame_loader(
    network: Network, split: Split, *, batch_size: int = 64, workers: int = 0, change: FrameChange | None = None
) -> EvalLoader:
    """Return a loader of the frames that a network wants in evaluation, each changed by ``change`` if one is given."""
    size = evaluation_frame(network.spec.image_size, network.spec.crop_fraction)
    return EvalLoader(split, size=size, batch_size=batch_size, workers=workers, change=change)


@dataclass(frozen=True, eq=False)
class _GivenStore:
    """Files and images in memory, each as a file would hold it."""

    images: Sequence[str | Path | Image.Image]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> bytes:
        image = self.images[index]
        if not isinstance(image, Image.Image):
            return Path(image).read_bytes()
        # Without loss, so that it is read by the one piece that reads files: orientation, palettes, 16 bits.
        content = io.BytesIO()
        image.save(content, "PNG" if image.mode in _PNG_MODES else "TIFF", exif=image.getexif())
        return content.getvalue()

    def measure(self, index: int) -> int:
        return len(self.read(index))


# What a PNG holds as it is.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def gather_images(images: Sequence[str | Path | Image.Image]) -> Split:
    """Return image files, and images that Pillow has opened, as a split that can be shown to a network.

    Raises:
        DataError: there are none, or a file is missing.
    """
    if isinstance(images, (str, Path, Image.Image)):
        images = [images]
    if not len(images):
        raise DataError("No images were given.")
    unknown = next((image for image in images if not isinstance(image, (str, Path, Image.Image))), None)
    if unknown is not None:
        raise DataError(f"An image is a file's path or one that Pillow has opened, got {type(unknown).__name__}.")
    files = [image for image in images if not isinstance(image, Image.Image)]
    found = find_files(files) if files else ()
    if len(found) == len(images):
        return Split("predict", found, np.zeros(len(found), dtype=np.int64))
    paths = tuple(
        Path(f"image {number}") if isinstance(image, Image.Image) else Path(image)
        for number, image in enumerate(images)
    )
    return Split("predict", paths, np.zeros(len(paths), dtype=np.int64), store=_GivenStore(tuple(images)))
