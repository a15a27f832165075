"""Distillation by contrast with a memory of the training images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.errors import ConfigError
from dropkd.functional.crd import crd_loss, crd_scores, update_memory
from dropkd.functional.precision import full_precision
from dropkd.methods.method import Method
from dropkd.methods.negatives import Negatives
from dropkd.methods.options import Rate, Temperature
from dropkd.methods.processes import average, gather_rows, share_first

__all__ = ["CRD"]

# Each network and the one in whose memory its images are looked for.
_DIRECTIONS = (("student", "teacher"), ("teacher", "student"))


class CRD(Method):
    r"""The student learns to find the teacher's embedding of an image among those of images of other classes.

    Each network's embeddings are projected, scaled to length 1 and remembered for every training image. The teacher's
    projector learns by the same task with the roles exchanged.

    Equation:
        L = L_s + L_t, \quad L_v = -\frac{1}{B} \sum_i \left[ \log \frac{q_0}{q_0 + K / N + \epsilon}
            + \sum_{k=1}^{K} \log \frac{K / N}{q_k + K / N + \epsilon} \right]
        q_k = \frac{e^{\langle m_k, v_i \rangle / \tau}}{Z}, \quad \epsilon = 10^{-7}
        m_{0} \gets \frac{\mu m_{0} + (1 - \mu) v'_i}{\| \mu m_{0} + (1 - \mu) v'_i \|}

        v is the projected embedding of one network and m are places in the memory of the other, the image's own (0) and
        those of K images of other classes; v' is that other network's embedding of the image. N is the number of
        training images, and Z is N times the mean of the exponentials over the first batch, kept from then on.

    Terms:
        contrast: noise-contrastive loss of both directions, in nats; weight 0.8, that of the authors, beside a
            cross-entropy of weight 1.

    Trains:
        a linear layer for each network (D x 128 + 128 weights for an embedding of D numbers): 16,640 parameters for
        cifar_resnet56 -> cifar_resnet20.

    Args:
        pair: the shapes of student and teacher, and the class of each training sample.
        negatives: images of other classes that each image is told from; where the training data hold fewer, as many as
            they hold for any class.
        temperature: similarities are divided by it.
        momentum: share of what was remembered, where an image is seen again.
        width: numbers in a projected embedding.

    Note:
        It needs the number of each image in the training set (``index``) and the class of each number beforehand
        (``targets``). The two memories hold 8 x width bytes for each training image on the device and in every
        checkpoint: 51 MB for the 50,000 images of CIFAR-100, 1.3 GB for the 1.28 million of ImageNet.

        The positive is the image itself, the authors' mode "exact". They draw negatives of each image at random without
        replacement (with it, where there are too few); here each class has its share of the draw, which is as likely to
        hold any one image. An image twice in a batch is remembered as it came last.

        Several processes gather what they remember, so that all hold one memory, and average Z. Buffers need not be
        sent besides: ``DistributedDataParallel(..., broadcast_buffers=False)`` saves sending the memories at each step.

    References:
        Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> distiller = dropkd.Distiller(student, teacher, "crd", targets=torch.arange(50) % 10)
        >>> losses = distiller(torch.rand(4, 3, 32, 32), torch.arange(4), index=torch.tensor([0, 11, 22, 33]))
        >>> sorted(losses.raw)
        ['contrast', 'cross_entropy']
    """

    student_reads = frozenset({"embedding"})
    teacher_reads = frozenset({"embedding"})
    terms: ClassVar[Mapping[str, float]] = {"contrast": 0.8}
    reads_index = True
    single_label_terms: ClassVar[frozenset[str] | None] = frozenset(terms)
    student_memory: Tensor
    teacher_memory: Tensor
    normalizers: Tensor

    def __init__(
        self,
        pair: Pair,
        *,
        negatives: Annotated[int, Ge(1)] = 16384,
        temperature: Temperature = 0.07,
        momentum: Rate = 0.5,
        width: Annotated[int, Ge(1)] = 128,
    ) -> None:
        super().__init__(pair)
        if pair.targets is None:
            raise ConfigError(
                "CRD remembers every training sample and needs the class of each beforehand. Pass them as targets=... "
                "and each image's number as index=... to the distiller."
            )
        self.temperature, self.momentum = temperature, momentum
        self.negatives = Negatives(pair.targets, negatives)
        sides = {"student": pair.student, "teacher": pair.teacher}
        self.projectors = nn.ModuleDict({side: nn.Linear(s.embedding, width) for side, s in sides.items() if s})
        for side in sides:
            # The authors' start: rows of length 1 on average.
            start = (2 * torch.rand(len(pair.targets), width) - 1) * math.sqrt(3 / width)
            self.register_buffer(f"{side}_memory", start)
        # 0 until the first batch has set them.
        self.register_buffer("normalizers", torch.zeros(len(_DIRECTIONS)))
        self._shares_memory = False

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``contrast`` where it is active, and remember the images in training."""
        teacher = self.require_teacher(teacher)
        if "contrast" not in self.active:
            return {}
        if self.training and not self._shares_memory:
            # Processes that were seeded differently started from different memories.
            share_first(self.student_memory, self.teacher_memory)
            self._shares_memory = True
        embeddings = {"student": student.embedding, "teacher": teacher.embedding.detach()}
        codes = {side: F.normalize(self.projectors[side](e), dim=1) for side, e in embeddings.items()}
        places = torch.cat((batch.index.unsqueeze(1), self.negatives.draw(batch.index)), dim=1)
        scores = [
            crd_scores(codes[side], self._find_memory(other), places, self.temperature) for side, other in _DIRECTIONS
        ]
        images = len(self.student_memory)
        normalizers = self._find_normalizers(scores, images)
        losses = [crd_loss(score / z, images) for score, z in zip(scores, normalizers, strict=True)]
        if self.training:
            self._remember(batch.index, codes)
        return {"contrast": torch.stack(losses).sum()}

    def _find_memory(self, side: str) -> Tensor:
        return self.student_memory if side == "student" else self.teacher_memory

    @torch.no_grad()
    def _find_normalizers(self, scores: list[Tensor], images: int) -> Tensor:
        """Return Z for both directions, by this batch where none has set them."""
        measured = average(torch.stack([score.mean() for score in scores]) * images)
        normalizers = torch.where(self.normalizers > 0, self.normalizers, measured)
        if self.training:
            self.normalizers.copy_(normalizers)
        return normalizers

    @torch.no_grad()
    def _remember(self, index: Tensor, codes: Mapping[str, Tensor]) -> None:
        index, *gathered = gather_rows(index, *(codes[side].detach() for side, _ in _DIRECTIONS))
        order = index.argsort(stable=True)
        last = order[torch.searchsorted(index[order], index, right=True) - 1]
        rows = torch.arange(len(index), device=index.device)
        for (side, _), code in zip(_DIRECTIONS, gathered, strict=True):
            memory = self._find_memory(side)
            memory.index_copy_(0, index, update_memory(memory[index], rows, code[last], self.momentum))
