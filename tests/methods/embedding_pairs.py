"""Pairs of networks for methods of embeddings, random answers, and golden cases."""

from __future__ import annotations

from typing import Any

import torch
from map_pairs import check_close, load_golden
from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.models import build_network


def make_pair(student: int, teacher: int, num_classes: int = 10, targets: Tensor | None = None) -> Pair:
    """Return a pair of networks whose embeddings are so wide, and which give no maps."""
    return Pair(Shapes(num_classes, (), student), Shapes(num_classes, (), teacher), num_classes, targets)


def make_published_pair(targets: Tensor | None = None) -> Pair:
    """Return the pair that the CIFAR-100 benchmarks compare methods with: ResNet-56 teaches ResNet-20."""
    student, teacher = (
        build_network(f"cifar_resnet{depth}", num_classes=100, image_size=(32, 32)).shapes for depth in (20, 56)
    )
    return Pair(student, teacher, 100, targets)


def answer(embedding: Tensor) -> Outputs:
    """Return an answer that holds nothing but its embedding."""
    return Outputs(embedding.new_full((len(embedding), 1), torch.nan), (), embedding)


def draw(rows: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def labels(images: int) -> Batch:
    return Batch(torch.arange(images) % 2, torch.arange(images))


def compare(method: Any, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
    """Return the terms of a method for two embeddings."""
    terms: dict[str, Tensor] = method(answer(student), answer(teacher), labels(len(student)))
    return terms


def run(method: Any, images: int = 5) -> dict[str, Tensor]:
    """Return the terms of a method for random embeddings."""
    widths = method.pair.student.embedding, method.pair.teacher.embedding
    return compare(method, draw(images, widths[0], seed=1), draw(images, widths[1], seed=2))


def check_golden(name: str, method: Any) -> None:
    """Assert that a method's weighted terms have the value and the student's gradient of the authors' code."""
    arrays = load_golden(name)
    student = arrays["in_student"].clone().requires_grad_()
    terms = compare(method, student, arrays["in_teacher"])
    weights = method.terms if len(terms) > 1 else dict.fromkeys(terms, 1.0)
    loss = torch.stack([weights[term] * value for term, value in terms.items()]).sum()
    (gradient,) = torch.autograd.grad(loss, student)
    check_close(name, loss, arrays["out_loss"])
    check_close(name, gradient, arrays["grad_loss_wrt_student"])
