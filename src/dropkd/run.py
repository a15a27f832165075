"""A run folder, opened: the only thing that evaluation, prediction and the report need of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from dropkd.answering import frame_loader, predict_images
from dropkd.config import Config, load_config
from dropkd.data import ImageData, open_data
from dropkd.engine.journal import read_journal
from dropkd.engine.outcome import read_metrics
from dropkd.engine.packing import choose_remembering
from dropkd.engine.qat import FLOAT_FILE
from dropkd.errors import RunError
from dropkd.models import open_network, read_rounding
from dropkd.models.rounding import Roundings, round_network
from dropkd.models.tapped import TappedNetwork
from dropkd.prediction import Prediction

__all__ = ["Prediction", "Run", "frame_loader"]


@dataclass(frozen=True)
class Run:
    """A run folder.

    Args:
        folder: where it is.
    """

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open a run folder.

        Raises:
            RunError: there is none, or it is no run folder.
        """
        path = Path(folder)
        if not path.is_dir():
            raise RunError(f"There is no run folder {str(folder)!r}.")
        if (path / "group.yaml").is_file():
            raise RunError(f"{str(folder)!r} is a group of runs. Name one of the run folders in it.")
        if not (path / "config.yaml").is_file():
            raise RunError(f"{str(folder)!r} is no run folder: it has no config.yaml.")
        return cls(path)

    @cached_property
    def config(self) -> Config:
        """The resolved configuration."""
        return load_config(self.folder / "config.yaml")

    @property
    def metrics(self) -> dict[str, Any]:
        """The final numbers, ``metrics.json``; empty while the run goes on."""
        return read_metrics(self.folder)

    @property
    def history(self) -> list[dict[str, Any]]:
        """What each epoch brought, from ``metrics.jsonl``."""
        return [record for record in read_journal(self.folder / "metrics.jsonl") if record["event"] == "epoch"]

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end."""
        return self.metrics.get("status") == "finished"

    def network(self, model: nn.Module | None = None) -> TappedNetwork:
        """Return the selected student with its preprocessing and taps, in eval mode.

        A student that has learned to be rounded (``qat``) is rounded as it was judged;
        :func:`dropkd.models.rounding.unround_network` makes it plain.

        Args:
            model: a module of the student's class, where the run was started with one; its weights are replaced.

        Raises:
            RunError: the run stopped before its first epoch was done.
            ModelError: the student is no library's, and no module is given.
        """
        path = self.folder / "student.safetensors"
        if not path.is_file():
            raise RunError(f"{str(self.folder)!r} holds no student yet. Go on with: dropkd resume {self.folder}")
        network = open_network(path, model=model)
        if (rounding := read_rounding(path)) is not None:
            roundings = Roundings.from_description(rounding)
            round_network(network, roundings)
            roundings.switch(network.model, is_on=True)
        return network.eval()

    def float_network(self, model: nn.Module | None = None) -> TappedNetwork | None:
        """Return the student as it was before it learned to be rounded; None where it did not."""
        path = self.folder / FLOAT_FILE
        return open_network(path, model=model) if path.is_file() else None

    def student(self) -> nn.Module:
        """Return the selected student as the plain library model, in eval mode; it wants normalised images."""
        return self.network().model

    def open_data(self, place: str | Path | None = None) -> ImageData:
        """Return the images of the run, split as it split them, or those of another place.

        Raises:
            DataError: they are not there any more, or can't be read.
        """
        config = self.config
        return open_data(
            config.data.path if place is None else place,
            seed=config.split_seed,
            validation_fraction=config.data.validation_fraction,
            skip_unreadable=config.data.skip_unreadable,
            remembering=choose_remembering(config.data),
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in the order of the logits."""
        return self.network().spec.classes or ()

    def predict(
        self, paths: Sequence[str | Path], *, top: int = 5, batch_size: int = 64, device: str = "cpu"
    ) -> list[Prediction]:
        """Return the student's answer to each image file.

        Args:
            paths: image files.
            top: how many classes to name for each.
            batch_size: images at a time.
            device: where to compute.

        Raises:
            DataError: a file is missing or can't be read as an image.
        """
        network = self.network().to(device)
        return predict_images(network, paths, top=top, batch_size=batch_size, device=device)
