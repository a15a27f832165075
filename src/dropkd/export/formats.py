"""One pair of functions for each kind of file: write it, and open it again to be compared."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dropkd.errors import ConfigError, ModelError

__all__ = ["FORMATS", "Format"]

Answering = Callable[[Tensor], Tensor]
_INPUT, _OUTPUT, _BATCH = "images", "logits", "batch"


@dataclass(frozen=True)
class Format:
    """A kind of exported file.

    Args:
        suffix: of the file's name.
        write: takes the module, an example batch, the file and what is to be known of the model.
        open: takes the file and gives a function from inputs to logits.
    """

    suffix: str
    write: Callable[[nn.Module, Tensor, Path, Mapping[str, Any]], None]
    open: Callable[[Path], Answering]


def _write_onnx(module: nn.Module, example: Tensor, path: Path, facts: Mapping[str, Any]) -> None:
    onnx = _need("onnx", "onnxscript", "onnxruntime")
    with _quiet("onnxscript", "torch.onnx"):
        program = torch.onnx.export(
            module, (example,), dynamo=True, verbose=False, dynamic_shapes=({0: torch.export.Dim(_BATCH)},),
            input_names=[_INPUT], output_names=[_OUTPUT],
        )  # fmt: skip
    if program is None:
        raise ModelError("torch.onnx gave no program.")
    model = program.model_proto
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    onnx.checker.check_model(model)
    # All in one file: weights beside it are lost when it is moved.
    path.write_bytes(model.SerializeToString())


def _open_onnx(path: Path) -> Answering:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run([_OUTPUT], {_INPUT: inputs.numpy()})[0])


def _write_program(module: nn.Module, example: Tensor, path: Path, facts: Mapping[str, Any]) -> None:
    with _quiet("torch.export"):
        program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim(_BATCH)},))
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={"dropkd.json": json.dumps(texts)})


def _open_program(path: Path) -> Answering:
    with path.open("rb") as file, torch.no_grad():
        model = torch.export.load(file).module()
    return lambda inputs: model(inputs).detach()


# By the name that the user gives.
FORMATS = {
    "onnx": Format(".onnx", _write_onnx, _open_onnx),
    "pt2": Format(".pt2", _write_program, _open_program),
}


def _need(*names: str) -> Any:
    """Import these and return the first.

    Raises:
        ConfigError: one is not installed.
    """
    try:
        first, *_ = [import_module(name) for name in names]
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Writing ONNX needs {error.name!r}, which is not installed: pip install 'dropkd[export]'"
        ) from error
    return first


@contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """Hold back remarks that exporters make on their own insides; what matters is checked afterwards."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
