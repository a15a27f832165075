"""Small random answers of two networks, for methods to be tried on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.methods.method import Method
from dropkd.methods.options import check_options

__all__ = ["CNN", "TRANSFORMER", "Bench"]

# No map has 3 channels, so that a convolution over 3 channels can only be one that reads images.
CNN = Shapes(7, ((8, 8, 8), (12, 4, 4), (16, 2, 2)), 16, has_classifier=True)
TRANSFORMER = Shapes(7, ((20, 4, 4), (20, 4, 4)), 20, has_classifier=True)

_SAMPLES = 24
_IMAGES = 6


@dataclass(frozen=True)
class Bench:
    """A class, its options, and random answers for a pair of networks.

    Args:
        cls: the class.
        options: values for some of its options.
        pair: the shapes of the two networks; by default a CNN that learns from a transformer.
    """

    cls: type[Method]
    options: dict[str, Any]
    pair: Pair = field(default_factory=lambda: Pair(CNN, TRANSFORMER, 7, torch.arange(_SAMPLES, dtype=torch.int64) % 7))

    def build(self, seed: int = 0) -> Method:
        """Return the method in training mode, without a teacher where it reads none."""
        torch.manual_seed(seed)
        pair = self.pair if self.cls.teacher_reads else replace(self.pair, teacher=None)
        return self.cls(pair, **check_options(self.cls, self.cls.__name__, self.options)).train()

    def answer(self, shapes: Shapes, reads: frozenset[str], seed: int, images: int) -> Outputs:
        """Return random features, with nan in all that the method does not say it reads."""
        source, rows = torch.Generator().manual_seed(seed), images * len(self.cls.views)

        def draw(name: str, *shape: int) -> Tensor:
            values = torch.randn(*shape, generator=source)
            return (values if name in reads else values * math.nan).requires_grad_()

        maps = tuple(draw("maps", rows, *shape) for shape in shapes.maps)
        logits, embedding = draw("logits", rows, shapes.logits), draw("embedding", rows, shapes.embedding)
        weight = draw("classifier", shapes.logits, shapes.embedding) if shapes.has_classifier else None
        return Outputs(logits, maps, embedding, weight)

    def student(self, seed: int = 1, images: int = _IMAGES) -> Outputs:
        """Return the student's answer, as leaves of a graph."""
        return self.answer(self.pair.student, self.cls.student_reads, seed, images)

    def teacher(self, seed: int = 2, images: int = _IMAGES) -> Outputs | None:
        """Return the teacher's answer, as leaves of a graph, or None where the method reads none."""
        if self.pair.teacher is None or not self.cls.teacher_reads:
            return None
        return self.answer(self.pair.teacher, self.cls.teacher_reads, seed, images)

    def batch(self, images: int = _IMAGES, soft: bool = False) -> Batch:
        """Return labels and sample numbers, and shares of classes where ``soft``."""
        index = torch.arange(images).repeat(len(self.cls.views))
        target = index % self.pair.num_classes
        shares = F.one_hot(target, self.pair.num_classes) * 0.5 + 0.5 / self.pair.num_classes
        return Batch(target, index, epoch=1, soft_target=shares if soft else None)

    def call(self, method: Method, seed: int = 0) -> dict[str, Tensor]:
        """Return the method's terms, with torch seeded just before."""
        torch.manual_seed(seed)
        terms: dict[str, Tensor] = method(self.student(), self.teacher(), self.batch())
        return terms
