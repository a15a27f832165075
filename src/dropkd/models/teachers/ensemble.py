"""Several teachers that answer as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.contracts import Outputs
from dropkd.errors import ModelError
from dropkd.models.network import Network
from dropkd.models.source_lists import ENSEMBLE, split_sources
from dropkd.models.spec import ModelSpec

__all__ = ["EnsembleTeacher", "ensemble", "open_each"]


def ensemble(networks: Sequence[Network], *, each: bool = False) -> Network:
    """Return a network that answers with the mean of the others' probabilities.

    Args:
        networks: of the same classes; each keeps its own size and normalisation.
        each: whether the student learns from each of them by terms of its own, instead of from their mean.

    Raises:
        ModelError: there is none, or their classes differ.

    Example:
        >>> from dropkd.models import build_network
        >>> both = ensemble([build_network(name, num_classes=3) for name in ("cifar_resnet8", "cifar_vgg8")])
        >>> both.spec.name
        'ensemble:cifar_resnet8+cifar_vgg8'
    """
    if not networks:
        raise ModelError("An ensemble needs at least one network, got none.")
    return networks[0] if len(networks) == 1 else EnsembleTeacher(networks, each=each)


def open_each(source: str, open_member: Callable[[str, bool], Network], *, each: bool = False) -> Network:
    """Return the network that a source names, or the ensemble of those that it names.

    Args:
        source: one, or several as ``ensemble:A+B``.
        open_member: opens one of them; its second argument says whether it is the first.
        each: as for :func:`ensemble`.

    Raises:
        ModelError: the source names an ensemble of fewer than two, or their classes differ.
    """
    members = [open_member(member, number == 0) for number, member in enumerate(split_sources(source))]
    return ensemble(members, each=each)


class EnsembleTeacher(Network):
    """Answers with the logarithm of the mean of the members' probabilities; maps and embedding are the first's.

    Where images have several labels (``spec.multi_label``), the probabilities are the sigmoids of each class.

    Args:
        members: two or more networks of the same classes.
        each: whether the answers of all of them are handed on beside their mean.

    Raises:
        ModelError: their classes differ.
    """

    def __init__(self, members: Sequence[Network], *, each: bool = False) -> None:
        _check_classes(members)
        model = nn.ModuleList(member.model for member in members)
        shapes = replace(members[0].shapes, has_classifier=False)
        super().__init__(model, _join_specs([member.spec for member in members]), shapes)
        self.members = nn.ModuleList(members)
        self.each = each
        self.train(members[0].training)

    @property
    def first(self) -> Network:
        """The member whose maps and embedding are the ensemble's."""
        return cast(Network, self.members[0])

    def list_members(self) -> tuple[Network, ...]:
        """Return the members in their order."""
        return tuple(cast(Network, member) for member in self.members)

    @property
    def norms(self) -> tuple[tuple[Tensor, Tensor] | None, ...]:
        """Those of the first member."""
        return self.first.norms

    def forward(
        self, images: Tensor, *, maps: bool = True, preactivations: bool = False, crop: bool | None = None
    ) -> Outputs:
        """Return the answer to a batch of images; see :meth:`dropkd.models.Network.forward`."""
        first, *others = self.members
        answers: list[Outputs] = [first(images, maps=maps, preactivations=preactivations, crop=crop)]
        # Of the others no maps are wanted where only the mean is.
        wanted = {"maps": maps and self.each, "preactivations": preactivations and self.each}
        answers += [member(images, **wanted, crop=crop) for member in others]
        # Of single precision at least: the logarithm of a small mean is far from 0.
        every = [answer.logits for answer in answers]
        shares = torch.stack([logits.to(torch.promote_types(logits.dtype, torch.float32)) for logits in every])
        average = _average_questions if self.spec.multi_label else _average_classes
        members = tuple(answers) if self.each else ()
        return answers[0]._replace(logits=average(shares), classifier=None, members=members)


def _average_classes(logits: Tensor) -> Tensor:
    """Return the logarithm of the mean softmax over the members (M, B, K)."""
    return logits.log_softmax(2).logsumexp(0) - math.log(len(logits))


def _average_questions(logits: Tensor) -> Tensor:
    """Return the logits of the mean sigmoid over the members (M, B, K)."""
    return F.logsigmoid(logits).logsumexp(0) - F.logsigmoid(-logits).logsumexp(0)


def _join_specs(specs: Sequence[ModelSpec]) -> ModelSpec:
    """Return what frames and views are made by: for the network that wants most; the others take theirs from that."""
    return replace(
        specs[0],
        name=ENSEMBLE + "+".join(spec.name for spec in specs),
        image_size=(max(spec.image_size[0] for spec in specs), max(spec.image_size[1] for spec in specs)),
        crop_fraction=min(spec.crop_fraction for spec in specs),
        classes=next((spec.classes for spec in specs if spec.classes is not None), None),
        options={},
    )


def _check_classes(members: Sequence[Network]) -> None:
    first = members[0]
    for member in members[1:]:
        if member.shapes.logits != first.shapes.logits:
            counts = " and ".join(f"{m.spec.name!r} {m.shapes.logits}" for m in (first, member))
            raise ModelError(
                f"The networks of an ensemble need the same classes, but {counts}. Map each to yours by --label-map."
            )
        one, other = first.spec.classes, member.spec.classes
        if one is not None and other is not None and one != other:
            number = next(number for number, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1])
            raise ModelError(
                f"The networks of an ensemble need the same classes in the same order, but class {number} is "
                f"{one[number]!r} in {first.spec.name!r} and {other[number]!r} in {member.spec.name!r}. "
                "Map each to yours by --label-map."
            )
