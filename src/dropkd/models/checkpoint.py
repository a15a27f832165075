"""Weights on disk: read them whoever wrote them, write them so that the plain library reads them."""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dropkd.errors import ModelError
from dropkd.files import replacing
from dropkd.models.damage import describe_absence, describe_damage, is_safetensors
from dropkd.models.fitting import fit_tensors
from dropkd.models.network import Network
from dropkd.models.spec import ModelSpec
from dropkd.models.teachers.logits_only import is_torchscript

__all__ = ["load_weights", "read_rounding", "read_spec", "read_tensors", "save_network"]

# The keys under which training scripts keep the weights, most specific first.
_CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "net", "student")
# The function that numpy's numbers are unpickled by; its module has had two names.
_NUMPY_SCALAR = np.float64(0).__reduce__()[0]
# Numbers and settings that training scripts keep beside the weights; plain data all of them.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "bool")),
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),
    (_NUMPY_SCALAR, "numpy._core.multiarray.scalar"),
]


def load_weights(model: nn.Module, path: str | Path, *, what: str = "student") -> None:
    """Load a file of weights into a model or a :class:`Network`; all must be there, of the right shape.

    Args:
        model: takes the weights.
        path: safetensors, or a torch file of tensors, bare or beside other plain entries of a checkpoint.
        what: the word for the model in error messages.

    Raises:
        ModelError: the file can't be read, is no plain file of tensors, or belongs to another architecture.
    """
    target = model.model if isinstance(model, Network) else model
    fit_tensors(target, read_tensors(path), subject=f"{str(path)!r} does not fit the {what} ({type(target).__name__})")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a file by the names that they have there.

    Raises:
        ModelError: the file is not there, is damaged, holds other things than tensors, or no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(describe_absence(path))
    try:
        if path.suffix == ".safetensors" or is_safetensors(path):
            return load_file(path)
    except SafetensorError as error:
        raise ModelError(_say_damaged(path, "safetensors", str(error))) from error
    except OSError as error:
        raise ModelError(f"can't read {str(path)!r}: {error.strerror or error}.") from error
    return _unpack(_read_torch_file(path), path)


def read_spec(path: str | Path) -> ModelSpec | None:
    """Return what dropkd wrote of the network into a safetensors file, or None where it wrote nothing.

    Raises:
        ModelError: the file is damaged.
    """
    described = _read_description(Path(path))
    return None if described is None else ModelSpec.from_dict(described)


def read_rounding(path: str | Path) -> dict[str, Any] | None:
    """Return between which ends the network of a safetensors file is rounded, or None where it is not.

    Raises:
        ModelError: the file is damaged.
    """
    rounding: dict[str, Any] | None = (_read_description(Path(path)) or {}).get("rounding")
    return rounding


def _read_description(path: Path) -> dict[str, Any] | None:
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ModelError(_say_damaged(path, "safetensors", str(error))) from error
    except OSError as error:
        raise ModelError(f"can't read {str(path)!r}: {error.strerror or error}.") from error
    return json.loads(metadata["dropkd"]) if "dropkd" in metadata else None


def save_network(network: Network, path: str | Path) -> None:
    """Write the plain model's weights, with what is needed to build it again as metadata.

    The file appears whole or not at all. ``timm.create_model`` (or the model's own constructor) and
    ``safetensors.torch.load_file`` read it without dropkd.

    Raises:
        RunError: it can't be written.
    """
    path = Path(path)
    # One entry alone: safetensors writes several in a random order, and equal runs must give equal files.
    roundings = network.roundings
    rounded = {} if roundings is None or not roundings.is_on else {"rounding": roundings.describe()}
    metadata = {"dropkd": json.dumps({**network.spec.to_dict(), **rounded})}
    try:
        with replacing(path) as partial:
            save_file(_separate(network.model.state_dict()), partial, metadata=metadata)
    except SafetensorError as error:
        # safetensors wraps what the operating system says, a full disk for example.
        raise ModelError(f"The weights can't be written to {str(path)!r} ({error}).") from error


def _read_torch_file(path: Path) -> Any:
    if is_torchscript(path):
        raise ModelError(
            f"{str(path)!r} is a TorchScript archive, which is a program and no file of weights. Give it without a "
            f"model's name, as {str(path)!r}, to learn from its logits, or save its state_dict() in a program that "
            "you trust."
        )
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if describe_damage(path) is not None:
            raise ModelError(_say_damaged(path, "torch", _first_line(error))) from error
        raise ModelError(
            f"{str(path)!r} is refused: it holds Python objects beside plain tensors, and reading such "
            f"a pickle can run anything ({_first_line(error)}). Save the weights alone in the program that "
            "wrote the file, by torch.save(model.state_dict(), PATH) or as safetensors."
        ) from error
    except Exception as error:
        raise ModelError(_say_damaged(path, "torch", _first_line(error))) from error


def _say_damaged(path: Path, kind: str, reason: str) -> str:
    """Return what is the matter with a file that can't be read, by its content where that tells."""
    told = describe_damage(path) or f"Reading it gave: {reason.rstrip('.')}."
    return f"{str(path)!r} is damaged or no {kind} file. {told}"


def _first_line(error: Exception) -> str:
    """Return the line of torch's long text that says what was found."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Unsupported" in line]
    return f"{type(error).__name__}: {(telling or lines or ['no reason given'])[0]}"


def _unpack(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the weights among the entries of a checkpoint."""
    if isinstance(content, dict):
        for key in _CONTAINERS:
            if isinstance(content.get(key), dict):
                return _unpack(content[key], path)
        tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
        inside = [key for key, value in content.items() if _holds_tensors(value)]
        if len(inside) == 1:
            return _unpack(content[inside[0]], path)
        if inside:
            raise ModelError(
                f"{str(path)!r} holds tensors under {', '.join(map(repr, inside))}, of which none is known to be the "
                f"weights. Save those alone, by torch.save(torch.load(PATH)[{inside[0]!r}], OTHER_PATH)."
            )
    got = f"the keys {sorted(map(str, content))[:10]}" if isinstance(content, dict) else type(content).__name__
    raise ModelError(
        f"{str(path)!r} holds no weights: expected tensors by name, bare or under one of "
        f"{', '.join(_CONTAINERS)}; got {got}."
    )


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(entry, Tensor) for entry in value.values())


def _separate(state: dict[str, Any]) -> dict[str, Tensor]:
    """Return contiguous tensors on the CPU, none of which shares its memory with another."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, value in state.items():
        if not isinstance(value, Tensor):
            continue
        tensor = value.detach().cpu().contiguous()
        address = tensor.untyped_storage().data_ptr()
        tensors[key] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return tensors
