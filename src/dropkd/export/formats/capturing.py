"""The student as a graph of PyTorch's operators, which most formats are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from dropkd.errors import ModelError
from dropkd.export.preparing import BATCH, Prepared

__all__ = ["capture", "failing_layer", "first_words", "name_layer"]


def capture(prepared: Prepared, *, free_batch: bool = True, as_floats: bool = False) -> ExportedProgram:
    """Return the exported program of the module.

    Args:
        prepared: what is exported.
        free_batch: it takes any number of images; else one.
        as_floats: what goes in are floating-point numbers, where the module takes bytes too.

    Raises:
        ModelError: PyTorch can't follow what a layer does, or the batch size is fixed by one; the layer is named.
    """
    shapes = ({0: torch.export.Dim(BATCH)},) if free_batch else None
    example = prepared.example if free_batch else prepared.example[:1]
    with failing_layer(prepared):
        program = torch.export.export(
            prepared.module, (example.float() if as_floats else example,), dynamic_shapes=shapes
        )
    for node in program.graph.nodes:
        # Where each line of Python lies on this machine is nobody's concern.
        node.meta.pop("stack_trace", None)
    return program


@contextmanager
def failing_layer(prepared: Prepared) -> Iterator[None]:
    """Name the layer that an exporter stumbles over while it runs the module.

    Raises:
        ModelError: it did.
    """
    with _entered_layers(prepared.module) as entered:
        try:
            yield
        except Exception as error:
            if not entered:
                raise
            raise ModelError(
                f"{prepared.spec.name!r} can't be captured as a graph: PyTorch can't follow the layer {entered[-1]} "
                f"({type(error).__name__}: {first_words(error)}). An export needs a forward without Python code that "
                "depends on the values or on the number of the images."
            ) from error


@contextmanager
def _entered_layers(module: nn.Module) -> Iterator[list[str]]:
    """Give the names of the layers that are being computed, innermost last; after an error, where it arose."""
    entered: list[str] = []
    hooks = []

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: entered.append(name)

    def leave(*_: Any) -> None:
        entered.pop()

    for name, layer in module.named_modules():
        if name:
            told = f"{name.removeprefix('model.')!r} ({type(layer).__name__})"
            hooks += [layer.register_forward_pre_hook(enter(told)), layer.register_forward_hook(leave)]
    try:
        yield entered
    finally:
        for hook in hooks:
            hook.remove()


def name_layer(program: ExportedProgram, operator: str) -> str | None:
    """Return the layer that first uses an operator; None where it is not known.

    Args:
        program: as captured.
        operator: its name, as ``aten.linalg_qr``.
    """
    # Exporters take operators apart: the part (prims.bessel_j0) mostly has the name of the whole (special_bessel_j0).
    own_name = operator.rpartition(".")[2]
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if stack and node.op == "call_function" and own_name in str(node.target):
            path, kind = list(stack.values())[-1]
            name = kind if isinstance(kind, str) else kind.__name__
            return f"{path.removeprefix('model.')!r} ({name.rpartition('.')[2]})"
    return None


def first_words(error: BaseException) -> str:
    """Return the first line of an error's text."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no reason given"
