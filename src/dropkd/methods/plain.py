"""Training without a teacher."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dropkd.contracts import Batch, Outputs
from dropkd.methods.method import Method

__all__ = ["Plain"]


class Plain(Method):
    """Plain training: the engine's cross-entropy and nothing else.

    Terms:
        none.

    Trains:
        nothing of its own.

    Args:
        pair: the shapes of the student; a teacher is not needed.
    """

    student_reads: ClassVar[frozenset[str]] = frozenset({"logits"})

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return no terms."""
        return {}
