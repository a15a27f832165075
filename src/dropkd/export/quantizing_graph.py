"""The layers of an ONNX file that have weights, by the names that they have in the network."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from dropkd.errors import ConfigError, did_you_mean

__all__ = ["OPERATORS", "Layer", "choose_layers", "list_layers", "name_ranges"]

# What has weights, and the activations that a convolution's result can be rounded after.
OPERATORS = ("Conv", "Gemm", "MatMul", "Relu", "Clip")
_WEIGHTED, _ACTIVATIONS = ("Conv", "Gemm", "MatMul"), ("Relu", "Clip")
# The network is a member of the module that is exported.
_PREFIX = "model."


@dataclass(frozen=True)
class Layer:
    """A convolution or a linear layer.

    Args:
        name: of the module in the network, ``layer1.0.conv1``; of the node where that is not known.
        node: name of the node.
        operator: ``Conv``, ``Gemm`` or ``MatMul``.
        weight: name of the weight.
        axis: the weight's axis of output channels.
        input: name of the tensor that comes in.
        output: name of the tensor that comes out, after the ReLU that belongs to it.
    """

    name: str
    node: str
    operator: str
    weight: str
    axis: int
    input: str
    output: str


def list_layers(model: Any) -> list[Layer]:
    """Return the layers of an ONNX model whose weights are constants, in the order in which they run."""
    constants = {initializer.name for initializer in model.graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    layers = []
    for node in model.graph.node:
        if node.op_type in _WEIGHTED and len(node.input) > 1 and node.input[1] in constants:
            weight = node.input[1]
            axis = 0 if node.op_type == "Conv" or _is_transposed(node) else 1
            end = _follow(node.output[0], readers) if node.op_type == "Conv" else node.output[0]
            layers.append(Layer(_name(node), node.name, node.op_type, weight, axis, node.input[0], end))
    return layers


def choose_layers(layers: Sequence[Layer], patterns: Sequence[str]) -> list[Layer]:
    """Return the layers that patterns stand for: names of layers or of the modules around them, * for any letters.

    Raises:
        ConfigError: a pattern stands for none.
    """
    chosen: list[Layer] = []
    for pattern in patterns:
        found = [layer for layer in layers if any(fnmatchcase(name, pattern) for name in _surrounding(layer.name))]
        if not found:
            names = [layer.name for layer in layers]
            known = [name for layer in names for name in _surrounding(layer)]
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise ConfigError(f"--keep-float {pattern!r} names no layer.{did_you_mean(pattern, known)} Layers: {shown}")
        chosen += [layer for layer in found if layer not in chosen]
    return chosen


def name_ranges(
    layers: Sequence[Layer], learned: Mapping[str, Mapping[str, tuple[float, float]]]
) -> dict[str, tuple[float, float]]:
    """Return by tensor the ranges that a network has learned by layer.

    Args:
        layers: of the file.
        learned: see :meth:`dropkd.models.rounding.Roundings.ranges`.
    """
    found: dict[str, tuple[float, float]] = {}
    for layer in layers:
        for side, ends in learned.get(layer.name, {}).items():
            found[layer.input if side == "input" else layer.output] = ends
    return found


def _surrounding(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[: n + 1]) for n in range(len(parts)))


def _follow(output: str, readers: dict[str, list[Any]]) -> str:
    """Return what comes out of the activation right after a tensor that nothing else reads."""
    following = readers.get(output, [])
    if len(following) == 1 and following[0].op_type in _ACTIVATIONS and following[0].input[0] == output:
        return str(following[0].output[0])
    return output


def _is_transposed(node: Any) -> bool:
    return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)


def _name(node: Any) -> str:
    """Return the module's name: the weight's, or where the exporter has changed that, the scope that it wrote down."""
    weight = str(node.input[1])
    if weight.startswith(_PREFIX) and weight.endswith(".weight"):
        return weight.removeprefix(_PREFIX).removesuffix(".weight")
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = [scope for scope in literal_eval(entry.value) if str(scope).startswith(_PREFIX)]
            if scopes:
                return str(scopes[-1]).removeprefix(_PREFIX)
    return str(node.name)
