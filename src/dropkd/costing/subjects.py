"""The networks that are measured: how each is opened, here and in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropkd.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from dropkd.models import Network

__all__ = ["Deployed", "Origin", "Subject", "deploy", "open_network_of", "open_session"]


@dataclass(frozen=True)
class Origin:
    """What a network is opened from, in plain values, so that another process can do it as well.

    Args:
        kind: ``run``, ``model`` (a name, with random weights, which take as long) or ``teacher`` (whatever can be one).
        source: the folder, the name or the source.
        image_size: side, or height and width; None for its own.
        num_classes: number of logits of a model given by name; None for its own.
        classes: names of the classes, which some teachers answer in.
        fallback_size: what a teacher is fed whose file does not say it.
    """

    kind: str
    source: str
    image_size: tuple[int, int] | None = None
    num_classes: int | None = None
    classes: tuple[str, ...] | None = None
    fallback_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Subject:
    """One network to be measured.

    Args:
        name: how tables call it.
        role: ``student``, ``teacher`` or ``network``.
        network: itself; None where it is nothing but an exported file.
        origin: where it comes from; None for a module that no other process could open.
        exports: its exported ONNX files.
        folders: of the runs that it belongs to.
        notes: what has to be said of it.
    """

    name: str
    role: str
    network: Network | None
    origin: Origin | None
    exports: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def open_network_of(origin: Origin) -> Network:
    """Open a network in evaluation mode.

    Raises:
        DropKDError: there is none, or it can't be opened.
    """
    import torch

    from dropkd.models import build_network, open_teacher
    from dropkd.run import Run

    # Networks are built with random weights before theirs are loaded; nobody else's draws may change by that.
    with torch.random.fork_rng(devices=[]):
        if origin.kind == "run":
            return Run.open(origin.source).network()
        if origin.kind == "model":
            built = build_network(origin.source, num_classes=origin.num_classes, image_size=origin.image_size)
            return built.eval()
        return open_teacher(
            origin.source,
            image_size=origin.image_size or origin.fallback_size,
            checkpoint_size=origin.image_size,
            classes=origin.classes,
        )


@dataclass(frozen=True)
class Deployed:
    """A network as it is used: alone, with its blocks fused, in evaluation mode.

    Args:
        answer: takes images (B, 3, H, W) and gives logits.
        module: holds the weights.
        size: height and width of the images.
        fused: parameters that fusing took away.
    """

    answer: Callable[[Tensor], Any]
    module: nn.Module
    size: tuple[int, int]
    fused: int = 0

    def make_call(self, batch: int, device: torch.device) -> Callable[[], Any]:
        """Return a function that has a batch of images in memory answered, and waits until that is done."""
        import torch

        generator = torch.Generator().manual_seed(0)
        dtype = next((p.dtype for p in self.module.parameters()), torch.float32)
        images = torch.rand(batch, 3, *self.size, generator=generator).to(device, dtype)

        def call() -> Any:
            with torch.inference_mode():
                logits = self.answer(images)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return logits

        return call


def deploy(network: Network) -> Deployed:
    """Return a network as it is used.

    A plain model is fed normalised images and has its blocks fused; any other network does its own preprocessing.

    Raises:
        ModelError: the fused blocks answer otherwise.
    """
    import torch

    from dropkd.export.fusing import fuse_blocks
    from dropkd.models import count_parameters
    from dropkd.models.tapped import TappedNetwork

    size = network.spec.image_size
    if not isinstance(network, TappedNetwork):
        return Deployed(network.logits, network, size)
    model = network.model
    if not _has_branches(model):
        return Deployed(model, model, size)
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    fused = fuse_blocks(model, images.to(next(model.parameters()).device))
    return Deployed(fused, fused, size, count_parameters(model) - count_parameters(fused))


def _has_branches(model: nn.Module) -> bool:
    """Tell whether there is anything to fuse: timm looks for these methods."""
    names = ("reparameterize", "fuse", "switch_to_deploy")
    return any(hasattr(part, name) for part in model.modules() for name in names)


@dataclass(frozen=True)
class Session:
    """An ONNX file, ready to answer.

    Args:
        answer: takes nothing and answers a batch of images.
        size: height and width of the images.
    """

    answer: Callable[[], Any]
    size: tuple[int, int]


def open_session(path: Path, batch: int, threads: int, size: tuple[int, int] | None) -> Session:
    """Open an ONNX file with as many threads, and images for it.

    Args:
        path: the file.
        batch: images at a time.
        threads: that compute.
        size: height and width of the images where the file leaves them open.

    Raises:
        ModelError: onnxruntime is not installed, the file is damaged, or takes something else than such a batch.
    """
    import numpy as np

    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(
            f"Timing {path.name!r} needs onnxruntime, which is not installed: pip install 'dropkd[export]'."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Threads that go on spinning after a call would take the processor from whoever has the next turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"{str(path)!r} is damaged or no ONNX file ({type(error).__name__}: {error}).") from error
    shape = [length if isinstance(length, int) else None for length in session.get_inputs()[0].shape]
    dtype = _DTYPES.get(session.get_inputs()[0].type)
    if len(session.get_inputs()) != 1 or len(shape) != 4 or shape[1] not in (3, None) or dtype is None:
        raise ModelError(f"{str(path)!r} does not take images (B, 3, H, W) as its one input.")
    if shape[0] not in (None, batch):
        raise ModelError(f"{path.name} takes batches of {shape[0]}, so it was not timed with {batch}.")
    height, width = (fixed or (size[side] if size else None) for side, fixed in enumerate(shape[2:]))
    if height is None or width is None:
        raise ModelError(f"{path.name} takes images of any size: say by --image-size which it is fed.")
    values = np.random.default_rng(0).random((batch, 3, height, width))
    images = {session.get_inputs()[0].name: (values * 255 if dtype == "uint8" else values).astype(dtype)}
    return Session(lambda: session.run(None, images), (height, width))


_DTYPES: Mapping[str, str] = {
    "tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64",
}  # fmt: skip
