"""A method that keeps the contract, to be spoilt in one place, and what is said of it then."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.methods.method import Method
from dropkd.testing import ContractError, check_method


class Reader(Method):
    """A method that reads everything, has a projector, a memory and labels of its own.

    Args:
        pair: the shapes.
    """

    student_reads = teacher_reads = frozenset({"logits", "maps", "embedding", "preactivations"})
    terms = {"match": 1.0, "spread": 1.0}  # noqa: RUF012
    memory: Tensor
    labels: Tensor

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.project = nn.Linear(pair.student.embedding, pair.teacher.embedding)
        self.register_buffer("memory", torch.zeros(pair.teacher.embedding))
        self.register_buffer("labels", torch.arange(24) % pair.num_classes)

    def restrict_terms(self, names: Collection[str]) -> None:
        super().restrict_terms(names)
        self.project.requires_grad_("match" in self.active)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        terms = {}
        if "match" in self.active:
            goal = self.look_at(teacher, batch)
            self.remember(student, goal, batch)
            terms["match"] = (self.project(student.embedding) - goal + self.memory).square().mean()
        if "spread" in self.active:
            terms["spread"] = student.logits.square().mean() + sum(m.square().mean() for m in student.maps)
        return terms

    def look_at(self, teacher: Outputs, batch: Batch) -> Tensor:
        return teacher.embedding.detach()

    def remember(self, student: Outputs, goal: Tensor, batch: Batch) -> None:
        self.memory.lerp_(goal.mean(dim=0), 0.1)


def make_wrong(**changes: Any) -> type[Method]:
    """Return the method with some of its attributes replaced."""
    return type("Wrong", (Reader,), {"__doc__": Reader.__doc__, **changes})


def complaints(cls: type[Method]) -> str:
    """Return what the check says of a class that breaks the contract."""
    with pytest.raises(ContractError) as caught:
        check_method(cls)
    return str(caught.value)
