"""Self-cure: images of which the student is unsure count less, and labels that it doubts are changed."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
import torch.distributed as dist
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.contracts import Batch, LabelChange, Outputs, Pair
from dropkd.errors import ConfigError, ModelError
from dropkd.functional.precision import full_precision
from dropkd.functional.scn import find_relabels, rank_regularization_loss
from dropkd.methods.method import Method

__all__ = ["SCN", "Relabelled", "WeightedStudent"]

Relabelled = Literal["all", "low", "none"]

# In the table of proposed labels: leave the label as it is.
_NONE = -1


class SCN(Method):
    r"""The student learns how far to trust each label, and replaces those that it finds wrong; without a teacher.

    A linear layer on the embedding weighs each image by a number from 0 to 1. The logits are scaled by it, so that an
    image of low weight can hardly move the student, and the weights are kept apart by ranking them within the batch.
    From an epoch on, a label gives way to a class that is far likelier. Nothing in it is about faces: it is for any
    data with wrong or doubtful labels.

    Equation:
        \alpha_i = \mathrm{sigmoid}(w^\top x_i + b), \quad o_i = \alpha_i z_i
        L_{weighted\ cross\ entropy} = \frac{1}{B} \sum_i \mathrm{CE}(o_i, y_i)
        L_{rank} = \max\{0, \delta - (\bar\alpha_{high} - \bar\alpha_{low})\}
        y_i \leftarrow \arg\max_k p_{ik} \quad \text{if} \quad \max_k p_{ik} - p_{i y_i} > \delta_2,
        \quad p_i = \mathrm{softmax}(o_i)

        x_i is the embedding of image i, z_i its logits, y_i its label as it stands; high are the int(high_ratio * B)
        images of largest weight, low the others; \delta is the margin and \delta_2 the relabel_margin.

    Terms:
        weighted_cross_entropy: cross-entropy of the weighted logits with the labels as they stand; weight 1.
        rank: hinge that keeps the mean weights of the two groups apart; weight 1, as in the authors' code. The
            engine's own cross-entropy has weight 0; where you give it one, it sees the changed labels too.

    Trains:
        a linear layer from the embedding to one number: 65 parameters for a cifar_resnet20 at 32 px (there is no
        teacher).

    Args:
        pair: the shapes of the student, and the labels of the training samples for relabelling.
        high_ratio: share of the images of a batch that count as sure.
        margin: by which the mean weights of the two groups should differ; the authors take 0.15 with batches of 1024
            and advise 0.07 with batches of 64.
        relabel_margin: by which the probability of another class must exceed that of the label.
        relabel_epoch: the first epoch whose batches change labels, counted from 1.
        relabel: all = any image can be relabelled, as in the authors' code; low = only those of the low group, as in
            the paper; none = labels never change.

    Note:
        Code and paper differ. The code relabels any image, and the published numbers belong to it, so that is the
        default. The paper weighs the terms by gamma and 1 - gamma: at its 0.5 that is half of the sum here, hence the
        same direction (``--set method.weights.weighted_cross_entropy=0.5 --set method.weights.rank=0.5``). The
        paper's formula has no bias in the logits; here the whole logits are weighted, as in the code.

        A changed label takes effect in the next epoch, and label smoothing leaves this cross-entropy alone. Each epoch
        with changes is a line ``relabel`` of metrics.jsonl, and a run ends with relabelled.csv. Validation, the test
        and the reported accuracy on training images keep the original labels. In a loop of your own pass
        :class:`~dropkd.Distiller` the labels (``targets=``) and each call the samples' numbers and the epoch
        (``index=``, ``epoch=``, counted from 0); call ``method.end_epoch(epoch)`` to hear of the changes, or leave it
        out: they are then made at the first batch of the next epoch. Several processes share what
        they propose; where two disagree on one sample, the class of the higher number is taken.

        Mixup and CutMix leave no image with one label, so relabelling refuses them; ``relabel: none`` goes with
        both. A batch must fill both groups: 2 images at the default share. In the authors' code a batch without a low
        or high group has no term rank.

        The weights scale all logits of an image alike, so the best class is the same without them, and a run keeps
        the plain student. :meth:`deploy`, which the engine does not call, gives the one with weighted logits, whose
        probabilities are milder where it is unsure; the authors evaluate with these.

    References:
        Wang, Peng, Yang, Lu, Qiao, "Suppressing Uncertainties for Large-Scale Facial Expression Recognition",
        CVPR 2020.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> distiller = dropkd.Distiller(student, None, "scn", targets=torch.arange(4))
        >>> losses = distiller(torch.rand(4, 3, 32, 32), torch.arange(4), index=torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'rank', 'weighted_cross_entropy']
    """

    student_reads = frozenset({"logits", "embedding"})
    terms: ClassVar[Mapping[str, float]] = {"weighted_cross_entropy": 1.0, "rank": 1.0}
    single_label_terms: ClassVar[frozenset[str] | None] = frozenset(terms)
    cross_entropy_weight: ClassVar[float] = 0.0
    least_batch = 2
    labels: Tensor
    proposed: Tensor

    def __init__(
        self,
        pair: Pair,
        *,
        high_ratio: Annotated[float, Gt(0), Lt(1)] = 0.7,
        margin: Annotated[float, Ge(0), Le(1)] = 0.15,
        relabel_margin: Annotated[float, Ge(0), Le(1)] = 0.2,
        relabel_epoch: Annotated[int, Ge(1)] = 10,
        relabel: Relabelled = "all",
    ) -> None:
        super().__init__(pair)
        self.high_ratio, self.margin = high_ratio, margin
        self.relabel_margin, self.relabel_epoch, self.relabel = relabel_margin, relabel_epoch, relabel
        self.least_batch = _least_batch(high_ratio)
        self._epoch, self._checked_epoch = 0, -1
        self.attend = nn.Linear(pair.student.embedding, 1)
        self.reads_index = relabel != "none"
        if relabel == "none":
            return
        if pair.targets is None:
            raise ConfigError(
                "SCN changes the labels of training samples and must know them beforehand: give Distiller(..., "
                "targets=LABELS), or switch relabelling off by method.relabel=none."
            )
        self.register_buffer("labels", pair.targets.clone())
        self.register_buffer("proposed", torch.full_like(pair.targets, _NONE))

    def get_extra_state(self) -> Tensor:
        """Return the epoch that the proposals are of, for the state dict.

        It is no buffer, since asking a device for its value would make every step wait.
        """
        return torch.tensor(self._epoch)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the epoch back that :meth:`get_extra_state` returned."""
        self._epoch = int(state)

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the active terms, and note which labels the next epoch changes."""
        if not self.active:
            return {}
        if self._changes_labels() and batch.soft_target is not None:
            raise ConfigError(
                "SCN can't relabel mixtures of images: set training.mixup and training.cutmix to 0, or switch "
                "relabelling off by method.relabel=none."
            )
        target = self.targets(batch)
        weights = torch.sigmoid(self.attend(student.embedding))
        logits, terms = weights * student.logits, {}
        if "weighted_cross_entropy" in self.active:
            terms["weighted_cross_entropy"] = F.cross_entropy(logits, target)
        if "rank" in self.active:
            terms["rank"] = rank_regularization_loss(weights, self.high_ratio, self.margin)
        if self._changes_labels() and batch.epoch + 1 >= self.relabel_epoch:
            self._propose(logits, weights, batch.index)
        return terms

    def targets(self, batch: Batch) -> Tensor:
        """Return the labels as they stand; in evaluation mode the original ones."""
        if not self._changes_labels() or batch.soft_target is not None:
            return super().targets(batch)
        if batch.epoch > self._epoch:
            self._change_labels()
            self._epoch = batch.epoch
        # Looking into a tensor waits for the device: on a GPU only the first batch of all is looked at.
        if self._checked_epoch < 0 or (batch.target.device.type == "cpu" and batch.epoch != self._checked_epoch):
            self._check_numbers(batch)
            self._checked_epoch = batch.epoch
        return self.labels[batch.index]

    def end_epoch(self, epoch: int) -> Sequence[LabelChange]:
        """Change the labels, for the next epoch, and return those that are others now."""
        if self.relabel == "none":
            return ()
        changes = self._change_labels()
        self._epoch = epoch + 1
        return changes

    def deploy(self, student: nn.Module) -> nn.Module:
        """Return the student with weighted logits, as the authors evaluate it; the best class is the same."""
        return WeightedStudent(student, copy.deepcopy(self.attend))

    def _changes_labels(self) -> bool:
        return self.training and self.relabel != "none"

    @torch.no_grad()
    def _propose(self, logits: Tensor, weights: Tensor, index: Tensor) -> None:
        label = self.labels[index]
        found = find_relabels(logits, label, self.relabel_margin)
        is_changed = found != label
        if self.relabel == "low":
            is_low = torch.ones_like(is_changed)
            order = weights.flatten().argsort(descending=True, stable=True)
            is_low[order[: int(self.high_ratio * len(order))]] = False
            is_changed &= is_low
        self.proposed[index] = torch.where(is_changed, found, self.proposed[index])
        if dist.is_available() and dist.is_initialized():
            # At every step, since data-parallel wrappers set the buffers of all processes to those of the first.
            dist.all_reduce(self.proposed, dist.ReduceOp.MAX)

    @torch.no_grad()
    def _change_labels(self) -> list[LabelChange]:
        """Put the proposals in force."""
        index = ((self.proposed != _NONE) & (self.proposed != self.labels)).nonzero().flatten()
        before, after = self.labels[index], self.proposed[index]
        self.labels[index] = after
        self.proposed.fill_(_NONE)
        rows = zip(index.tolist(), before.tolist(), after.tolist(), strict=True)
        return [LabelChange(*row) for row in rows]

    def _check_numbers(self, batch: Batch) -> None:
        """Make sure that a sample's number leads to its label: else others would be relabelled."""
        known = self.pair.targets
        if known is None:
            return
        index, target = batch.index.to(known.device), batch.target.to(known.device)
        is_known = bool(((index >= 0) & (index < len(known))).all())
        if not (is_known and torch.equal(known[index], target)):
            raise ConfigError(
                f"SCN knows {len(known)} training samples, but the numbers of this batch do not lead to its labels. "
                "Give Distiller the `targets` in the order of the data set, and each call the `index` of its samples."
            )


class WeightedStudent(nn.Module):
    """A student whose logits are weighted by how sure it is of the image.

    Args:
        student: answers with :class:`~dropkd.contracts.Outputs`.
        attend: the layer that :class:`SCN` has trained.
    """

    def __init__(self, student: nn.Module, attend: nn.Module) -> None:
        super().__init__()
        self.student, self.attend = student, attend

    def forward(self, images: Tensor) -> Outputs:
        """Return the answer to a batch of images, with weighted logits.

        Raises:
            ModelError: the student gives nothing but logits.
        """
        answer = self.student(images)
        if not isinstance(answer, Outputs):
            raise ModelError(
                "the weights are read off the embedding, so the student must answer with Outputs: "
                "wrap it by dropkd.models.wrap_model."
            )
        embedding = answer.embedding.to(next(self.attend.parameters()).dtype)
        return answer._replace(logits=torch.sigmoid(self.attend(embedding)) * answer.logits)


def _least_batch(high_ratio: float) -> int:
    """Return the fewest images that fill both groups."""
    images = max(2, math.ceil(1 / high_ratio))
    # A share such as 1/49 times 49 is a little below 1 in floating point.
    return images if int(high_ratio * images) else images + 1
