"""The four things that the rooms of dropkd hand to each other.

A network answers a batch of images with :class:`Outputs`; the data say of each image what :class:`Batch` holds;
:class:`Shapes` is what a network's answer looks like and :class:`Pair` what a method is built for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["NO_LABEL", "Batch", "LabelChange", "Outputs", "Pair", "Shapes"]

# The target of an image without a label.
NO_LABEL = -1


@dataclass(frozen=True)
class Shapes:
    """What a network's answer to one image looks like.

    Args:
        logits: number of logits.
        maps: channels, height and width of each feature map, shallow to deep.
        embedding: width of the vector that the classifier sees.
        has_classifier: whether the answer holds the weight (logits, embedding) of a linear classifier.
    """

    logits: int
    maps: tuple[tuple[int, int, int], ...]
    embedding: int
    has_classifier: bool = False


class Outputs(NamedTuple):
    """A network's answer to a batch, the same for every architecture.

    A named tuple, so that data-parallel wrappers and mixed precision see the tensors inside.

    Args:
        logits: (B, K), before any softmax.
        maps: feature maps (B, C, H, W) from shallow to deep, one of each stage and none of the stem before them; a
            transformer's tokens are folded to their grid and its prefix tokens (class, register, distillation) are
            dropped.
        embedding: (B, D), what the classifier sees.
        classifier: (K, D), the weight of the linear layer that turns the embedding into the logits, the model's own and
            not a copy, so that gradients to it train the model; None where no such layer does (two heads, a nonlinear
            one). It belongs to the network and not to the images: its rows are classes.
        preactivations: the same maps before their last activation, of the same shapes, where a method reads them; a
            map that does not end in an activation (a residual stream, a linear bottleneck) stands for itself; in the
            CIFAR wide ResNets, what the next activation is given stands for it.
        members: the answers of an ensemble's networks, each whole, where its methods have terms for each of them.

    Where a method asks for several views of each image, the rows of the first view come first, then those of the
    second.
    """

    logits: Tensor
    maps: tuple[Tensor, ...]
    embedding: Tensor
    classifier: Tensor | None = None
    preactivations: tuple[Tensor, ...] = ()
    members: tuple[Outputs, ...] = ()

    def apply(self, change: Callable[[Tensor], Tensor]) -> Outputs:
        """Return the answer with ``change`` applied to each tensor, the classifier's weight among them."""
        weight = None if self.classifier is None else change(self.classifier)
        maps, preactivations = (tuple(change(m) for m in maps) for maps in (self.maps, self.preactivations))
        members = tuple(member.apply(change) for member in self.members)
        return Outputs(change(self.logits), maps, change(self.embedding), weight, preactivations, members)

    def detach(self) -> Outputs:
        """Return the answer cut off from the graph."""
        return self.apply(Tensor.detach)

    def float(self) -> Outputs:
        """Return the answer in float32 where it was of lower precision; float64 stays float64."""
        return self.apply(lambda t: t if t.dtype == torch.float64 else t.float())

    def split(self, views: int) -> tuple[Outputs, ...]:
        """Return one answer per view, for rows that hold ``views`` views one after another.

        The classifier is the same in each.
        """
        logits, embedding = self.logits.chunk(views), self.embedding.chunk(views)
        maps, preactivations = ([m.chunk(views) for m in kind] for kind in (self.maps, self.preactivations))
        members = [member.split(views) for member in self.members]
        return tuple(
            Outputs(
                logits[v],
                tuple(m[v] for m in maps),
                embedding[v],
                self.classifier,
                tuple(m[v] for m in preactivations),
                tuple(m[v] for m in members),
            )
            for v in range(views)
        )

    @classmethod
    def join(cls, views: Sequence[Outputs]) -> Outputs:
        """Return the answers to several views as one, the inverse of :meth:`split`."""
        return cls(
            torch.cat([answer.logits for answer in views]),
            _join_maps([answer.maps for answer in views]),
            torch.cat([answer.embedding for answer in views]),
            views[0].classifier,
            _join_maps([answer.preactivations for answer in views]),
            tuple(cls.join(of_one) for of_one in zip(*(answer.members for answer in views), strict=True)),
        )

    @property
    def shapes(self) -> Shapes:
        """Return what one row looks like."""
        maps = tuple((m.shape[1], m.shape[2], m.shape[3]) for m in self.maps)
        return Shapes(self.logits.shape[1], maps, self.embedding.shape[1], self.classifier is not None)


def _join_maps(views: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(of_stage) for of_stage in zip(*views, strict=True))


@dataclass(frozen=True)
class Batch:
    """What is known of each image of a batch apart from its pixels.

    Args:
        target: (B,) int64, the class; under mixup or CutMix the class with the larger share. Where images have several
            labels or none, (B, K) of 0 and 1 in float32; under mixup or CutMix those of the image with the larger
            share. An image whose label is not known has what the teacher finds most probable, or ``NO_LABEL`` where
            the teacher knows other classes.
        index: (B,) int64, the sample's number in the training set, the same in every epoch; unlabelled images are
            numbered on from there.
        epoch: the epoch, counted from 0; also the number of the random view, a pure function of (seed, index, epoch).
        soft_target: (B, K) shares of classes, or of labels, under mixup or CutMix, else None; those of ``target`` for
            an image whose label is not known.

    Where a method asks for several views, each field holds one row per view and image, like :class:`Outputs`.
    """

    target: Tensor
    index: Tensor
    epoch: int = 0
    soft_target: Tensor | None = None

    def split(self, views: int) -> tuple[Batch, ...]:
        """Return one batch per view."""
        soft = self.soft_target.chunk(views) if self.soft_target is not None else [None] * views
        rows = zip(self.target.chunk(views), self.index.chunk(views), soft, strict=True)
        return tuple(replace(self, target=t, index=i, soft_target=s) for t, i, s in rows)


@dataclass(frozen=True)
class Pair:
    """What a method is built for: two networks seen from outside, and the size of the task.

    Args:
        student: the shapes of the student's answer.
        teacher: the shapes of the teacher's answer, or None where there is no teacher.
        num_classes: classes of the task; the student has as many logits.
        targets: (N,) int64, the class of each training sample by its index (memory banks and relabelling need it), or
            (N, K) float32 where images have several labels; None where the samples are not known beforehand.
        teacher_norms: for each of the teacher's maps the weight and bias (C,) of the batch norm before its last
            activation, or None where there is no such norm; empty where nothing is known of the teacher's inside.
        multi_label: whether an image may have several labels, or none: each logit then answers a question of its own.
        members: the student and each network of an ensemble, where a method has terms for each of them.
    """

    student: Shapes
    teacher: Shapes | None
    num_classes: int
    targets: Tensor | None = None
    teacher_norms: tuple[tuple[Tensor, Tensor] | None, ...] = ()
    multi_label: bool = False
    members: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class LabelChange:
    """A training sample that a method has given another class.

    Args:
        index: the sample's number in the training set.
        before: its class so far.
        after: its class from the next epoch on.
    """

    index: int
    before: int
    after: int
