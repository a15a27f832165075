"""An exported student, opened: it names the classes of image files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dropkd.errors import ConfigError, ModelError
from dropkd.inference.description import Description
from dropkd.inference.frames import feed, show_images
from dropkd.inference.onnx_session import OnnxSession
from dropkd.prediction import Prediction, find_files, rank_classes

__all__ = ["ExportedModel"]


class _Session(Protocol):
    def answer(self, images: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]: ...


class ExportedModel:
    """A file that ``dropkd export`` wrote, ready to answer; see :meth:`open`.

    Args:
        path: the file.
        description: how an image comes to it, and what its answers mean.
        session: answers what the file takes.
    """

    def __init__(self, path: Path, description: Description, session: _Session) -> None:
        self.path = path
        self.description = description
        self._session = session

    @classmethod
    def open(cls, path: str | Path, *, threads: int | None = None, device: str = "cpu") -> ExportedModel:
        """Open an exported ONNX file.

        Args:
            path: the file.
            threads: how many compute at a time; None: as many as there are cores.
            device: ``cpu``, ``cuda`` or ``cuda:N``, where this onnxruntime was built for it.

        Raises:
            MissingLibraryError: onnxruntime is not installed.
            ModelError: there is no such file, it is of another kind, damaged, or not dropkd's.
            ConfigError: the device is not there.
        """
        file = Path(path)
        if not file.is_file():
            raise ModelError(f"There is no exported file {str(path)!r}.")
        if file.suffix.lower() != ".onnx":
            raise ModelError(f"{str(path)!r} can't be run here, only .onnx files can: dropkd export RUN --to onnx")
        session = OnnxSession(file, threads=threads, device=device)
        return cls(file, Description.read(file, session.metadata), session)

    def answer(self, paths: Sequence[str | Path], *, batch_size: int = 64) -> NDArray[np.float32]:
        """Return the logits (N, K) of image files.

        Raises:
            DataError: a file is missing or can't be read as an image.
        """
        return np.concatenate(list(self._answer_batches(find_files(paths), batch_size)))

    def _answer_batches(self, files: Sequence[Path], batch_size: int) -> Iterator[NDArray[np.float32]]:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be 1 or more, got {batch_size!r}.")
        for start in range(0, len(files), batch_size):
            pixels = show_images(files[start : start + batch_size], self.description)
            yield self._session.answer(feed(pixels, self.description))

    def predict(self, paths: Sequence[str | Path], *, top: int = 5, batch_size: int = 64) -> list[Prediction]:
        """Return the student's answer to each image file.

        Args:
            paths: image files.
            top: how many classes to name for each.
            batch_size: images at a time.

        Raises:
            DataError: a file is missing or can't be read as an image.
            ModelError: the file does not answer as it says.
        """
        files = find_files(paths)
        logits = self.answer(files, batch_size=batch_size)
        names = self.description.name_classes(logits.shape[1])
        several = self.description.multi_label
        return rank_classes(files, to_probabilities(logits, several=several), names, several=several, top=top)


def to_probabilities(logits: NDArray[np.float32], *, several: bool) -> NDArray[np.float32]:
    """Return (N, K) probabilities of logits; each on its own where an image may have several labels.

    Example:
        >>> to_probabilities(np.float32([[0, 0]]), several=False).tolist()
        [[0.5, 0.5]]
        >>> to_probabilities(np.float32([[0, -200]]), several=True).tolist()
        [[0.5, 0.0]]
    """
    wide = logits.astype(np.float64)
    if several:
        # By tanh, which has no overflow either way.
        shares = (1 + np.tanh(wide / 2)) / 2
    else:
        shares = np.exp(wide - wide.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
    return np.asarray(shares, np.float32)
