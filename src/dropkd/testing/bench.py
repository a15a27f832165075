"""Small random answers of two networks, for methods to be tried on."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.methods.method import Method

__all__ = ["CNN", "EPOCHS", "TRANSFORMER", "Bench", "list_tensors", "make_pair"]

# No map has 3 channels, so that a convolution over 3 channels can only be one that reads images.
CNN = Shapes(7, ((8, 8, 8), (12, 4, 4), (16, 2, 2)), 16, has_classifier=True)
TRANSFORMER = Shapes(7, ((20, 4, 4), (20, 4, 4)), 20, has_classifier=True)

# The first, the one after it, and one by which warm-ups and relabelling have begun.
EPOCHS = (0, 1, 30)

_SAMPLES = 24
_IMAGES = 6


def make_pair(student: Shapes, teacher: Shapes) -> Pair:
    """Return a pair with labels of 24 samples, and batch norms before some of the teacher's activations.

    Every second map of the teacher, from the deepest on, has one; the others have none.
    """
    source = torch.Generator().manual_seed(0)
    norms: list[tuple[Tensor, Tensor] | None] = []
    for depth, (channels, _, _) in enumerate(reversed(teacher.maps)):
        weight, bias = (torch.randn(channels, generator=source).requires_grad_() for _ in range(2))
        norms.insert(0, None if depth % 2 else (weight, bias))
    return Pair(student, teacher, student.logits, torch.arange(_SAMPLES) % student.logits, tuple(norms))


@dataclass(frozen=True)
class Bench:
    """A class, its options, and random answers for a pair of networks.

    What a method reads and which views it wants may depend on its options, so answers are drawn for a method that is
    already built.

    Args:
        cls: the class.
        options: checked values for some of its options.
        pair: the shapes of the two networks; by default a CNN that learns from a transformer.
    """

    cls: type[Method]
    options: dict[str, Any]
    pair: Pair = field(default_factory=lambda: make_pair(CNN, TRANSFORMER))

    def build(self, seed: int = 0) -> Method:
        """Return the method in training mode, without a teacher where it reads none."""
        _seed(seed)
        method = self.cls(self.pair, **self.options)
        if not self.cls.teacher_reads and not method.teacher_reads:
            _seed(seed)
            method = self.cls(replace(self.pair, teacher=None, teacher_norms=()), **self.options)
        return method.train()

    def student(self, method: Method, seed: int = 1, images: int | None = None) -> Outputs:
        """Return the student's answer, as leaves of a graph."""
        return _draw_answer(self.pair.student, method.student_reads, seed, self._count_rows(method, images))

    def teacher(self, method: Method, seed: int = 2, images: int | None = None) -> Outputs | None:
        """Return the teacher's answer, as leaves of a graph, or None where the method reads none."""
        if self.pair.teacher is None or not method.teacher_reads:
            return None
        return _draw_answer(self.pair.teacher, method.teacher_reads, seed, self._count_rows(method, images))

    def batch(self, method: Method, images: int | None = None, soft: bool = False, epoch: int = 1) -> Batch:
        """Return labels and sample numbers, and shares of classes where ``soft``."""
        views = len(method.views)
        # From the last samples on, so that numbers of samples, places in the batch and classes are not the same.
        index = (torch.arange(self._count_rows(method, images) // views) - _IMAGES).repeat(views) % _SAMPLES
        target = index % self.pair.num_classes
        shares = F.one_hot(target, self.pair.num_classes) * 0.5 + 0.5 / self.pair.num_classes
        return Batch(target, index, epoch, shares if soft else None)

    def call(self, method: Method, seed: int = 0, epoch: int = 1) -> dict[str, Tensor]:
        """Return the method's terms, with torch seeded just before."""
        _seed(seed)
        terms: dict[str, Tensor] = method(self.student(method), self.teacher(method), self.batch(method, epoch=epoch))
        return terms

    def list_active(self) -> list[frozenset[str]]:
        """Return sets of terms that may be active: all, each alone, all but one, none."""
        terms = frozenset(self.cls.terms)
        parts = ({name} for name in self.cls.terms), (terms - {name} for name in self.cls.terms)
        return list(dict.fromkeys((terms, *(frozenset(part) for kind in parts for part in kind), frozenset())))

    def _count_rows(self, method: Method, images: int | None) -> int:
        return len(method.views) * (max(_IMAGES, method.least_batch) if images is None else images)


def _seed(seed: int) -> None:
    # The answers are on the CPU; torch.manual_seed would seed every device, which takes longer than a step.
    torch.default_generator.manual_seed(seed)


def list_tensors(answer: Outputs) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of an answer with the names of their fields."""
    for name, value in zip(Outputs._fields, answer, strict=True):
        for tensor in value if isinstance(value, tuple) else (value,):
            if tensor is not None:
                yield name, tensor


def _draw_answer(shapes: Shapes, reads: Collection[str], seed: int, rows: int) -> Outputs:
    """Return random features, with nan in all that the method does not say it reads."""
    source = torch.Generator().manual_seed(seed)

    def draw(name: str, *shape: int) -> Tensor:
        values = torch.randn(*shape, generator=source)
        return (values if name in reads else values * math.nan).requires_grad_()

    maps = tuple(draw("maps", rows, *shape) for shape in shapes.maps)
    logits, embedding = draw("logits", rows, shapes.logits), draw("embedding", rows, shapes.embedding)
    weight = draw("classifier", shapes.logits, shapes.embedding) if shapes.has_classifier else None
    preactivations = tuple(draw("preactivations", rows, *shape) for shape in shapes.maps)
    return Outputs(logits, maps, embedding, weight, preactivations)
