"""Networks from what a user names: a run folder, a file, a model with its weights, several of these, a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dropkd.errors import ModelError
from dropkd.models.building import build_network
from dropkd.models.checkpoint import load_weights, read_spec
from dropkd.models.names import find_library, is_model_name
from dropkd.models.network import Network
from dropkd.models.pushed import find_pushed
from dropkd.models.repository import open_files
from dropkd.models.sources import parse_source
from dropkd.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from dropkd.models.tapped import TappedNetwork
from dropkd.models.teachers.ensemble import open_each
from dropkd.models.teachers.logits_only import CalledTeacher, is_torchscript, read_torchscript, wrap_callable
from dropkd.models.teachers.onnx_file import read_onnx
from dropkd.models.teachers.zero_shot import open_zero_shot
from dropkd.models.transformers_library import TransformersLibrary
from dropkd.models.wrapping import read_defaults, wrap_model

__all__ = ["open_network", "open_teacher"]

# What the run folder's student is called.
_STUDENT_FILE = "student.safetensors"


def open_network(
    path: str | Path, *, map_modules: Sequence[str] | None = None, model: nn.Module | None = None
) -> TappedNetwork:
    """Return the network that :func:`~dropkd.models.checkpoint.save_network` wrote, in evaluation mode.

    Args:
        path: the safetensors file.
        map_modules: names of the modules whose outputs are the maps; found where None.
        model: a module of the network's class, where it is the user's own; its weights are replaced.

    Raises:
        ModelError: there is no such file, dropkd did not write it, it holds a module of the user's own and none is
            given, or the module is of another class.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"There is no file of weights {str(path)!r}.")
    spec = read_spec(path)
    if spec is None:
        raise ModelError(
            f"{str(path)!r} does not say which model it belongs to (dropkd did not write it). "
            f"Give the model's name too, as 'NAME:{path}'."
        )
    if model is not None:
        return _put_into(model, path, spec, map_modules).eval()
    if not spec.name.startswith(f"{TransformersLibrary.source}/") and not is_model_name(spec.name):
        raise ModelError(
            f"{str(path)!r} holds the weights of {spec.name!r}, which no library has. Build the module "
            "yourself, load them by dropkd.models.load_weights, and give the module in place of the file."
        )
    network = build_network(spec.name, num_classes=None, checkpoint=path, map_modules=map_modules)
    return network.eval()


def open_teacher(
    source: str | Path | nn.Module | Callable[[Tensor], Any],
    *,
    num_classes: int | None = None,
    image_size: int | Sequence[int] | None = None,
    map_modules: Sequence[str] | None = None,
    checkpoint_size: int | Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
) -> Network:
    """Return a trained network in evaluation mode.

    Args:
        source: a model's name (with its published weights and their number of classes),
            ``NAME:CHECKPOINT``, the folder of an earlier run, a safetensors file that dropkd wrote, a TorchScript or
            ONNX file (logits alone), ``hf:ORG/NAME`` or ``hf:FOLDER`` (a repository of timm or transformers),
            ``clip:MODEL/WEIGHTS`` and its like (zero-shot), several of these as ``ensemble:A+B``, a module, a
            :class:`Network`, or a function from images (B, 3, H, W) in 0..1 to logits.
        num_classes: number of logits that a module or a function must give; all else says it itself.
        image_size: side, or height and width, that a module of the user's own, a function, or a TorchScript or ONNX
            file that does not say it is fed; all else says it itself.
        map_modules: names of the modules whose outputs are the maps, of an ensemble's first member; found where None.
        checkpoint_size: side, or height and width, that a ``NAME:CHECKPOINT``, a TorchScript or an ONNX file is fed;
            where None, what the file says, or else the model's published input or ``image_size``.
        classes: names of the classes that a zero-shot teacher answers in; all else has its own.

    Raises:
        ModelError: nothing of that name, weights that can't be had or don't fit.
    """
    if isinstance(source, Network):
        return source.eval()
    if isinstance(source, nn.Module) or callable(source):
        return _wrap_given(source, num_classes, image_size, map_modules).eval()

    def open_member(text: str, is_first: bool) -> Network:
        sizes = (image_size, checkpoint_size)
        return _open_named(text, sizes, map_modules if is_first else None, classes).eval()

    return open_each(str(source), open_member)


def _put_into(model: nn.Module, path: Path, spec: ModelSpec, map_modules: Sequence[str] | None) -> TappedNetwork:
    """Return the network of a module whose weights are taken from a file, fed as the file says."""
    load_weights(model, path)
    network = wrap_model(
        model,
        image_size=spec.image_size,
        mean=spec.mean,
        std=spec.std,
        interpolation=spec.interpolation,
        crop_fraction=spec.crop_fraction,
        map_modules=map_modules,
        name=spec.name,
        classes=spec.classes,
    )
    network.spec = replace(network.spec, multi_label=spec.multi_label)
    return network


def _open_named(
    text: str,
    sizes: tuple[int | Sequence[int] | None, int | Sequence[int] | None],
    map_modules: Sequence[str] | None,
    classes: Sequence[str] | None,
) -> Network:
    """Return the network that one source names.

    Args:
        text: the source.
        sizes: what the student is fed, and what the user says that the teacher is fed.
        map_modules: names of the modules whose outputs are the maps, or None.
        classes: the data's class names, or None.
    """
    source, path, (image_size, given_size) = parse_source(text), Path(text), sizes
    if source.scheme == "clip":
        return open_zero_shot(source, classes, image_size=given_size, map_modules=map_modules)
    if source.scheme == "hf":
        pushed = find_pushed(open_files(source))
        if pushed is not None and given_size is None:
            return open_network(pushed, map_modules=map_modules)
        return build_network(text, num_classes=None, image_size=given_size, pretrained=True, map_modules=map_modules)
    if path.is_dir() and not is_model_name(text):
        return open_network(_find_student(path), map_modules=map_modules)
    if path.is_file():
        return _open_file(path, map_modules, given_size or image_size)
    if source.file is not None:
        return build_network(
            source.name, num_classes=None, image_size=given_size, checkpoint=source.file, map_modules=map_modules
        )
    _check_meant_as_name(text)
    return build_network(text, num_classes=None, pretrained=True, map_modules=map_modules)


def _wrap_given(
    source: nn.Module | Callable[[Tensor], Any],
    num_classes: int | None,
    image_size: int | Sequence[int] | None,
    map_modules: Sequence[str] | None,
) -> Network:
    """Return the network around a module or a function of the user's own."""
    if isinstance(source, nn.Module) and not isinstance(source, (CalledTeacher, torch.jit.ScriptModule)):
        size = image_size if read_defaults(source) is None else None
        return wrap_model(source, image_size=size, num_classes=num_classes, map_modules=map_modules)
    name = getattr(getattr(source, "call", source), "__name__", type(source).__name__)
    if image_size is None:
        raise ModelError(f"{name} needs image_size, the size of the images that it is fed.")
    if isinstance(source, torch.jit.ScriptModule):
        # Normalised as every module is.
        return wrap_callable(
            source, image_size=image_size, num_classes=num_classes, mean=IMAGENET_MEAN, std=IMAGENET_STD, name=name
        )
    return wrap_callable(source, image_size=image_size, num_classes=num_classes, name=name)


def _open_file(path: Path, map_modules: Sequence[str] | None, size: int | Sequence[int] | None) -> Network:
    if path.suffix == ".onnx":
        return read_onnx(path, image_size=size)
    if is_torchscript(path):
        if size is None:
            raise ModelError(f"{str(path)!r} does not say what size of images it is fed: give image_size.")
        return read_torchscript(path, image_size=size)
    return open_network(path, map_modules=map_modules)


def _find_student(folder: Path) -> Path:
    student = folder / _STUDENT_FILE
    if not student.is_file():
        held = sorted(entry.name for entry in folder.iterdir())[:10]
        raise ModelError(
            f"The folder {str(folder)!r} is no run with a trained network: it has no {_STUDENT_FILE}. "
            f"It holds: {', '.join(held) or 'nothing'}."
        )
    return student


def _check_meant_as_name(text: str) -> None:
    """Raise where the text is neither a model nor anything on disk."""
    try:
        find_library(text)
    except ModelError as error:
        raise ModelError(f"{error} Nor is there a run folder or a file {text!r}.") from error
