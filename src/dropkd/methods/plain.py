"""Training without a teacher."""

from __future__ import annotations

from torch import Tensor

from dropkd.contracts import Batch, Outputs
from dropkd.methods.method import Method

__all__ = ["Plain"]


class Plain(Method):
    r"""Plain training: the engine's cross-entropy and nothing else.

    Equation:
        L = \operatorname{CE}(z, y)

        z are the student's logits, y is the label. The other methods are compared with it.

    Terms:
        none; the cross-entropy has weight 1.

    Trains:
        nothing of its own.

    Args:
        pair: the shapes of the student; a teacher is not needed.

    Note:
        With a teacher at hand it is still not asked.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, None, "plain")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy']
    """

    student_reads = frozenset({"logits"})

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return no terms."""
        return {}
