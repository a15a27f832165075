"""What rounding costs: the same images before and after it, and with one layer rounded at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropkd.export.onnx_answers import Answer
from dropkd.export.quantizing import Ranges, quantize_model
from dropkd.export.quantizing_graph import list_layers
from dropkd.statistics.pairs import PairedComparison, compare_paired

__all__ = ["LayerNoise", "Loss", "find_noisy_layers", "judge_both"]

Batches = Iterable[tuple[NDArray[Any], NDArray[Any]]]

# Looking at the layers one at a time ends after so many seconds.
_SECONDS = 60.0


@dataclass(frozen=True)
class Loss:
    """The accuracy before and after.

    Args:
        split: which images.
        images: how many.
        figure: ``accuracy``; ``exact_match``, all labels right, where images have several.
        before: the reference's, a fraction.
        after: the int8 file's.
        same: share of the images for which both name the same.
        paired: after minus before on the same images: difference, 95 % interval, McNemar's test.
    """

    split: str
    images: int
    figure: str
    before: float
    after: float
    same: float
    paired: PairedComparison

    @property
    def drop(self) -> float:
        """How much lower the accuracy is afterwards, in percentage points."""
        return 100 * (self.before - self.after)


@dataclass(frozen=True)
class LayerNoise:
    """What rounding one layer alone does.

    Args:
        layer: its name.
        noise: mean squared change of the logits, as a share of their variance over images.
    """

    layer: str
    noise: float


def judge_both(split: str, batches: Batches, before: Answer, after: Answer) -> Loss:
    """Return what two models answer to the same images.

    Args:
        split: the images' name.
        batches: what the models are fed, with the targets.
        before: gives the logits of the reference.
        after: gives the logits of the int8 file.
    """
    right: tuple[list[NDArray[np.bool_]], list[NDArray[np.bool_]]] = ([], [])
    same: list[NDArray[np.bool_]] = []
    several = False
    for inputs, target in batches:
        several = target.ndim == 2
        named = [_name(answer(inputs), several) for answer in (before, after)]
        for found, kept in zip(named, right, strict=True):
            kept.append(_all_equal(found, target.astype(found.dtype)))
        same.append(_all_equal(*named))
    first, second = (np.concatenate(kept) for kept in right)
    return Loss(
        split,
        len(first),
        "exact_match" if several else "accuracy",
        float(first.mean()),
        float(second.mean()),
        float(np.concatenate(same).mean()),
        compare_paired(second, first),
    )


def find_noisy_layers(
    model: Any, ranges: Ranges, inputs: NDArray[Any], open_model: Callable[[Any], Answer], *, weight_bits: int = 8
) -> list[LayerNoise]:
    """Return the layers by how much the logits change when each of them alone is rounded, the worst first.

    It ends after a minute, with the layers that were looked at by then.

    Args:
        model: what :func:`dropkd.export.quantizing.simplify_file` returned.
        ranges: of its tensors.
        inputs: some images, as the model is fed them.
        open_model: opens a model to be asked.
        weight_bits: bits of a weight.
    """
    expected = open_model(model)(inputs)
    spread = float(np.mean((expected - expected.mean(0)) ** 2)) or 1.0
    found, start = [], time.monotonic()
    for layer in list_layers(model):
        if time.monotonic() - start > _SECONDS:
            break
        rounded = quantize_model(model, ranges, weight_bits=weight_bits, layers=[layer])
        change = open_model(rounded)(inputs) - expected
        found.append(LayerNoise(layer.name, float(np.mean(change**2)) / spread))
    return sorted(found, key=lambda noise: -noise.noise)


def _name(logits: NDArray[Any], several: bool) -> NDArray[Any]:
    named: NDArray[Any] = logits >= 0 if several else logits.argmax(1)
    return named


def _all_equal(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
    equal = first == second
    all_equal: NDArray[np.bool_] = np.all(equal, axis=1) if equal.ndim == 2 else equal
    return all_equal
