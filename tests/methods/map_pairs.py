"""Pairs of networks that strain methods of feature maps, their random answers, golden cases, and published recipes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dropkd.config import Config, load_config
from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.methods import build_method, method_class, method_options

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
MANIFEST = {case["id"]: case for case in json.loads((GOLDEN / "manifest.json").read_text())["cases"]}

Maps = Sequence[tuple[int, ...]]


def make_pair(student: Maps, teacher: Maps, num_classes: int = 10) -> Pair:
    shapes = (Shapes(num_classes, tuple(maps), maps[-1][0]) for maps in (student, teacher))  # type: ignore[arg-type]
    return Pair(*shapes, num_classes)


CNN, LARGE_CNN = ((8, 16, 16), (16, 8, 8), (24, 4, 4)), ((8, 32, 32), (12, 16, 16), (16, 8, 8), (32, 4, 4))
VIT, LARGE_VIT = ((20, 7, 7),) * 4, ((28, 16, 16),) * 3

PAIRS = {
    "CNN and CNN of more stages": make_pair(CNN, LARGE_CNN),
    "CNN of more stages and CNN": make_pair(LARGE_CNN, CNN),
    "CNN and transformer": make_pair(CNN, VIT),
    "transformer and CNN": make_pair(VIT, LARGE_CNN),
    "transformer and transformer": make_pair(VIT, LARGE_VIT),
    "large and small transformer": make_pair(LARGE_VIT, VIT),
    "hybrid and transformer": make_pair(((8, 28, 28), (16, 14, 14), (24, 14, 14)), ((20, 14, 14),) * 2),
    "not square and odd": make_pair(((5, 13, 6), (9, 7, 3), (11, 4, 2)), ((7, 10, 5), (8, 5, 3), (9, 3, 1))),
    "one cell at the deep end": make_pair(((8, 4, 4), (16, 2, 2), (32, 1, 1)), ((6, 7, 7), (9, 4, 4), (12, 2, 2))),
    "two classes": make_pair(CNN, VIT, 2),
    "a thousand classes": make_pair(VIT, CNN, 1000),
    "one map": make_pair(((16, 3, 3),), LARGE_CNN),
}
EACH_PAIR = pytest.mark.parametrize("pair", PAIRS.values(), ids=list(PAIRS))


def answer(shapes: Shapes, images: int = 3, seed: int = 0) -> Outputs:
    """Return a random answer; its maps have values of either sign, as those of transformers."""
    source = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(images, *shape, generator=source)

    maps = tuple(draw(*shape).requires_grad_() for shape in shapes.maps)
    return Outputs(draw(shapes.logits), maps, draw(shapes.embedding))


def labels(images: int = 3) -> Batch:
    return Batch(torch.arange(images) % 2, torch.arange(images))


def run(method: Any, images: int = 3) -> tuple[dict[str, Tensor], Outputs, Outputs]:
    """Return the terms of a method for random answers, and these answers."""
    student, teacher = answer(method.pair.student, images, seed=1), answer(method.pair.teacher, images, seed=2)
    return method(student, teacher, labels(images)), student, teacher


def check_learning(method: Any, images: int = 3) -> None:
    """Assert that finite gradients reach the student's maps and all of the method's parameters, and no teacher."""
    terms, student, teacher = run(method, images)
    assert set(terms) == set(method.terms)
    assert all(term.shape == () and term.isfinite() for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    reached = [m.grad for m in student.maps if m.grad is not None]
    assert any(gradient.count_nonzero() for gradient in reached)
    assert all(gradient.isfinite().all() for gradient in reached)
    assert all(m.grad is None for m in teacher.maps)
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def load_golden(name: str) -> dict[str, Tensor]:
    """Return the arrays of a golden case by their names."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file}


def golden_cases(method: str) -> list[str]:
    return [name for name, case in MANIFEST.items() if case["method"] == method]


def golden_answers(arrays: dict[str, Tensor]) -> tuple[Outputs, Outputs]:
    """Return the maps of a golden case as answers of two networks, the student's as leaves of a graph."""
    sides = []
    for side in ("student", "teacher"):
        maps = tuple(arrays[key].clone() for key in sorted(arrays) if key.startswith(f"in_{side}"))
        rows = maps[0].new_zeros(len(maps[0]), 2)
        sides.append(Outputs(rows, maps, rows))
    for feature_map in sides[0].maps:
        feature_map.requires_grad_()
    return sides[0], sides[1]


def check_golden(name: str, method_name: str, **options: Any) -> None:
    """Assert that a method without parameters gives the value and the gradients of the authors' code."""
    arrays = load_golden(name)
    student, teacher = golden_answers(arrays)
    method = build_method(method_name, Pair(student.shapes, teacher.shapes, 2), options)
    (loss,) = method(student, teacher, labels(len(student.logits))).values()
    gradients = torch.autograd.grad(loss, student.maps)
    check_close(name, loss, arrays["out_loss"])
    for number, gradient in enumerate(gradients):
        check_close(name, gradient, arrays[f"grad_loss_wrt_student{number}"])


def check_close(name: str, found: Tensor, expected: Tensor) -> None:
    """Assert equality within the tolerance of a golden case."""
    torch.testing.assert_close(found.reshape(expected.shape), expected, **MANIFEST[name]["tolerance"])


def check_recipe(name: str) -> Config:
    """Assert that a method's recipe is the benchmarks' CIFAR-100 training with the method's own weights and options."""
    config, cls = load_config(ROOT / "recipes" / "methods" / f"{name}.yaml"), method_class(name)
    training = config.training
    assert config.method.name == name
    assert config.method.weights == {"cross_entropy": 1.0, **cls.terms}
    assert config.method.options.keys() == method_options(cls).keys()
    assert (config.student.name, config.student.pretrained) == ("cifar_resnet20", False)
    assert (training.epochs, training.batch_size, training.optimizer) == (240, 64, "sgd")
    assert (training.lr, training.momentum, training.weight_decay, training.nesterov) == (0.05, 0.9, 5e-4, False)
    assert (training.schedule, training.milestones, training.decay_factor) == ("step", [150, 180, 210], 0.1)
    assert (training.warmup_epochs, training.label_smoothing, training.precision) == (0, 0.0, "32")
    return config
