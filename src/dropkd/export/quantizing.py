"""An ONNX file of whole numbers, of 8 bits, from one of floating-point numbers.

Inputs of convolutions and linear layers are rounded to 256 levels between the ends of a range, which need not lie even
about 0; so are results of convolutions, after the ReLU that belongs to them. Weights have a scale for each output
channel and are even about 0. Sums, normalisations, softmax and the other activations stay as they are: rounding those
too costs accuracy, of transformers all of it, and saves no time.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropkd.export.preparing import INPUT
from dropkd.export.quantizing_graph import OPERATORS, Layer, list_layers

__all__ = ["METHODS", "Ranges", "find_ranges", "quantize_model", "simplify_file"]

# The lowest and the highest value of a tensor, by its name.
Ranges = Mapping[str, tuple[float, float]]

# How the ends of a range are found, by the user's word.
METHODS = ("minmax", "percentile", "entropy")
_PERCENTILE = 99.99


def simplify_file(source: Path, target: Path) -> Any:
    """Write the file with its constants folded and all shapes in it, as the quantiser wants it; return the model."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _held_back():
        quant_pre_process(str(source), str(target))
    return onnx.load(str(target))


def find_ranges(simplified: Path, batches: Iterable[NDArray[Any]], method: str) -> dict[str, tuple[float, float]]:
    """Return the range of every tensor that may be rounded, by what it holds for real images.

    Args:
        simplified: what :func:`simplify_file` wrote.
        batches: what the model is fed, a batch at a time; no more than one of them is held.
        method: ``minmax`` takes the ends that were seen, ``percentile`` those of 99.99 % of the values, ``entropy``
            those that keep most of the distribution.
    """
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    kinds = {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    options = {"percentile": _PERCENTILE} if method == "percentile" else {}
    with tempfile.TemporaryDirectory() as folder, _held_back():
        calibrator = create_calibrator(
            simplified,
            list(OPERATORS),
            augmented_model_path=str(Path(folder) / "watched.onnx"),
            calibrate_method=kinds[method],
            extra_options=options,
        )
        for batch in batches:
            calibrator.collect_data(_OneBatch(batch))
        found = calibrator.compute_data()
        return {name: _as_range(data.range_value) for name, data in found.items()}


def quantize_model(
    model: Any,
    ranges: Ranges,
    *,
    weight_bits: int = 8,
    layers: Sequence[Layer] | None = None,
) -> Any:
    """Return the model with rounded inputs and weights.

    Args:
        model: what :func:`simplify_file` returned; it stays as it is.
        ranges: of its tensors.
        weight_bits: bits of a weight, 2 to 8; they are stored in 8 each.
        layers: those that are rounded; None: all.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    known = list_layers(model)
    chosen = known if layers is None else list(layers)
    names = {layer.node for layer in chosen}
    left = [layer.node for layer in known if layer.node not in names]
    pairs = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    options = {
        "MatMulConstBOnly": True,
        "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
        "TensorQuantOverrides": _narrow(model, chosen, weight_bits) if weight_bits < 8 else {},
    }
    with _held_back():
        quantizer = QDQQuantizer(
            copy.deepcopy(model), True, False, QuantType.QInt8, QuantType.QUInt8,
            TensorsData(CalibrationMethod.MinMax, pairs), [], left, list(OPERATORS), options,
        )  # fmt: skip
        quantizer.quantize_model()
    return quantizer.model.model


class _OneBatch:
    """Hands one batch to the calibrator, which asks until there is none."""

    def __init__(self, batch: NDArray[Any]) -> None:
        self._left = [batch]

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return {INPUT: self._left.pop()} if self._left else None


def _as_range(ends: tuple[Any, Any]) -> tuple[float, float]:
    low, high = (float(np.asarray(end).reshape(-1)[0]) for end in ends)
    return low, high


def _narrow(model: Any, layers: Sequence[Layer], bits: int) -> dict[str, list[dict[str, Any]]]:
    """Return the scales of weights of fewer bits, for each output channel."""
    from onnx import numpy_helper
    from onnxruntime.quantization import QuantType

    weights = {initializer.name: initializer for initializer in model.graph.initializer}
    top, overrides = 2 ** (bits - 1) - 1, {}
    for layer in layers:
        values = np.moveaxis(numpy_helper.to_array(weights[layer.weight]), layer.axis, 0)
        largest = np.abs(values.reshape(len(values), -1)).max(axis=1)
        scales = (np.where(largest > 0, largest, 1) / top).astype(np.float32)
        entries = [
            {"quant_type": QuantType.QInt8, "scale": scale, "zero_point": np.int8(0), "axis": layer.axis}
            for scale in scales
        ]
        overrides[layer.weight] = entries
    return overrides


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Hold back what onnxruntime's quantiser prints, logs and warns of on its own insides."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
