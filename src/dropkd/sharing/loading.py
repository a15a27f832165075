"""A network that is ready to answer, from wherever it was put: a run, an export, a repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from PIL import Image
from torch import Tensor, nn

from dropkd.answering import predict_images
from dropkd.contracts import Outputs
from dropkd.errors import ModelError, RunError
from dropkd.models import open_network, open_teacher
from dropkd.models.hub_files import FolderFiles, HubFiles
from dropkd.models.hub_names import check_revision
from dropkd.models.network import Network
from dropkd.models.pushed import CONFIG_FILE, find_pushed
from dropkd.models.sources import parse_source
from dropkd.prediction import Prediction

__all__ = ["LoadedNetwork", "load"]

# What a run folder's student is called, and what a run folder has in any case.
_STUDENT, _RUN = "student.safetensors", "config.yaml"
_EXPORTED = (".onnx",)


class LoadedNetwork(Network):
    """A network with its preprocessing and the names of its classes.

    Called with images it gives :class:`~dropkd.contracts.Outputs`, as each network of dropkd does, so that it can be a
    teacher; :meth:`logits` gives the logits alone, :meth:`predict` names the classes of image files, and ``model`` is
    the plain model, which wants normalised images.

    Args:
        network: as it was opened.
        source: where it comes from, as the user named it.
    """

    def __init__(self, network: Network, source: str) -> None:
        super().__init__(network.model, network.spec, network.shapes)
        self.source = source
        self.preprocessing = getattr(network, "preprocessing", None)
        # Its modules are those that are registered above: registered as well, each weight would be there twice.
        object.__setattr__(self, "_network", network)
        self.eval()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of the logits; numbers where nobody named them."""
        return self.spec.classes or tuple(str(k) for k in range(self.shapes.logits))

    @property
    def classifier_name(self) -> str | None:
        """The name of the layer that turns the embedding into the logits, or None where no single one does."""
        return self._opened.classifier_name

    @property
    def norms(self) -> tuple[tuple[Tensor, Tensor] | None, ...]:
        """For each map the weight and bias of the batch norm right before its last activation, or None."""
        return self._opened.norms

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the network; see :meth:`torch.nn.Module.train`."""
        self._opened.train(mode)
        return super().train(mode)

    def forward(
        self, images: Tensor, *, maps: bool = True, preactivations: bool = False, crop: bool | None = None
    ) -> Outputs:
        """Return the answer to images (B, 3, h, w) of any size; see :meth:`dropkd.models.Network.forward`."""
        answer: Outputs = self._opened(images, maps=maps, preactivations=preactivations, crop=crop)
        return answer

    def predict(
        self, images: Sequence[str | Path | Image.Image], *, top: int = 5, batch_size: int = 64
    ) -> list[Prediction]:
        """Return the classes of images, each with its probability.

        Args:
            images: image files, or images that Pillow has opened.
            top: how many classes to name for each.
            batch_size: images at a time.

        Raises:
            DataError: there are none, or a file is missing or can't be read as an image.
        """
        device = next((p.device for p in self.parameters()), "cpu")
        was_training = self.training
        try:
            return predict_images(self.eval(), images, top=top, batch_size=batch_size, device=device)
        finally:
            self.train(was_training)

    @property
    def _opened(self) -> Network:
        opened: Network = self.__dict__["_network"]
        return opened


def load(place: str | Path, *, model: nn.Module | None = None) -> LoadedNetwork:
    """Return a network that is ready to answer, in evaluation mode on the CPU.

    No code of a repository is run: it holds weights and a description, and what builds the network is installed here.

    Args:
        place: a run folder, a folder that ``dropkd push --dry-run`` wrote or that was fetched from the hub, a file that
            dropkd wrote (``.safetensors``, ``.onnx``), or ``hf:OWNER/NAME``, with ``@REVISION`` for a branch, a tag or
            a commit. What is fetched from the hub stays in its cache, so that it is there without a network too.
        model: a module of the network's class where it is the user's own; its weights are replaced.

    Raises:
        RunError: there is no such folder, or it is a run without a student yet.
        ModelError: it holds no network, the repository can't be had, or the name can't be one.

    Example:
        >>> from dropkd.demo.demo import TEACHER_FILE
        >>> load(TEACHER_FILE).classes[:3]
        ('ankle_boot', 'bag', 'coat')
    """
    text = str(place)
    if text.startswith("hf:"):
        return LoadedNetwork(_load_repository(text, model), text)
    path = Path(place)
    if path.is_dir():
        return LoadedNetwork(_load_folder(path, model), text)
    if path.is_file():
        return LoadedNetwork(_load_file(path, model), text)
    hint = f" A repository of the hub is 'hf:{text}'." if text.count("/") == 1 and not text.startswith(".") else ""
    raise RunError(f"There is no folder and no file {text!r}.{hint}")


def _load_repository(text: str, model: nn.Module | None) -> Network:
    source = parse_source(text)
    parts = source.name.split("/")
    if len(parts) != 2 or not all(parts) or any(part.startswith((".", "~")) for part in parts):
        raise ModelError(
            f"{text!r} names no repository of the hub, which is OWNER/NAME. A folder is given by its path alone."
        )
    revision = source.options.get("revision")
    files = HubFiles(source.name, None if revision is None else check_revision(revision), by_hand="FOLDER")
    pushed = find_pushed(files)
    if pushed is None:
        return _check_no_module(
            open_teacher(f"hf:{source.name}" + (f"?revision={revision}" if revision else "")), model
        )
    return open_network(pushed, model=model)


def _load_folder(folder: Path, model: nn.Module | None) -> Network:
    student = folder / _STUDENT
    if student.is_file():
        return _load_file(student, model)
    if (folder / _RUN).is_file():
        raise RunError(f"{str(folder)!r} holds no student yet. Go on with: dropkd resume {folder}")
    if (folder / "group.yaml").is_file():
        raise RunError(f"{str(folder)!r} is a group of runs. Name one of the run folders in it.")
    if (folder / CONFIG_FILE).is_file():
        pushed = find_pushed(FolderFiles(folder, f"the folder {str(folder)!r}"))
        return (
            _check_no_module(open_teacher(f"hf:{folder}"), model)
            if pushed is None
            else open_network(pushed, model=model)
        )
    files = sorted(path for path in folder.iterdir() if path.suffix in (*_EXPORTED, ".safetensors"))
    if len(files) == 1:
        return _load_file(files[0], model)
    names = [path.name for path in files] or sorted(path.name for path in folder.iterdir())[:10]
    what = "several networks; name one of the files" if files else "no network"
    raise ModelError(f"The folder {str(folder)!r} holds {what}. It holds: {', '.join(names) or 'nothing'}.")


def _load_file(path: Path, model: nn.Module | None) -> Network:
    if path.suffix in _EXPORTED:
        return _check_no_module(open_teacher(path), model)
    if path.suffix != ".safetensors":
        known = ", ".join((".safetensors", *_EXPORTED))
        raise ModelError(f"{str(path)!r} is of a kind that is not loaded here: give a folder, or a file of {known}.")
    return open_network(path, model=model)


def _check_no_module(network: Network, model: nn.Module | None) -> Network:
    if model is not None:
        raise ModelError("A module is given for weights of one's own alone; this network brings its own.")
    return network
