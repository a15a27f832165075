"""A teacher of other classes, answering in those of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dropkd.contracts import Outputs
from dropkd.models.network import Network
from dropkd.models.teachers.label_map import LabelMap, read_label_map, resolve_label_map

__all__ = ["MappedTeacher", "map_labels"]


def map_labels(
    network: Network, label_map: str | Path | Mapping[str | int, str], classes: Sequence[str]
) -> MappedTeacher:
    """Return a network that answers in other classes; its maps and its embedding stay what they are.

    Args:
        network: answers in classes of its own.
        label_map: a CSV file with the columns ``teacher`` (a name or number of its classes) and ``own`` (one of
            ``classes``), or a mapping from the former to the latter; several may lead to the same.
        classes: names of the classes to answer in, in the order of the labels.

    Raises:
        ConfigError: the table can't be read, or a class in it is unknown, named twice or missing.

    Example:
        >>> from dropkd.models import build_network
        >>> cats_dogs_cars = build_network("cifar_resnet8", num_classes=3, classes=["cat", "dog", "car"])
        >>> mapped = map_labels(cats_dogs_cars, {"cat": "animal", "dog": "animal", "car": "thing"}, ["animal", "thing"])
        >>> mapped.shapes.logits
        2
    """
    rows = read_label_map(label_map)
    return MappedTeacher(network, resolve_label_map(rows, classes, network.spec.classes, network.shapes.logits))


class MappedTeacher(Network):
    """Answers with logits whose softmax adds up the probabilities of the classes that are joined.

    The teacher's classes that lead nowhere are left out, as if it had never known them: the others' probabilities grow
    in proportion. Where each class stands for one of the teacher's, the rows of its classifier are those of these.

    Args:
        network: the teacher as it is.
        label_map: which of its classes stand for which.
    """

    used: Tensor
    group: Tensor

    def __init__(self, network: Network, label_map: LabelMap) -> None:
        pairs = [(number, own) for own, numbers in enumerate(label_map.groups) for number in numbers]
        keeps_classifier = network.shapes.has_classifier and len(pairs) == len(label_map.groups)
        count = len(label_map.classes)
        super().__init__(
            network.model,
            replace(network.spec, num_classes=count, classes=label_map.classes),
            replace(network.shapes, logits=count, has_classifier=keeps_classifier),
        )
        self.network = network
        self.label_map = label_map
        # Every network has its means among its buffers.
        used, group = torch.tensor(pairs, device=next(network.buffers()).device).unbind(1)
        self.register_buffer("used", used, persistent=False)
        self.register_buffer("group", group, persistent=False)
        self.train(network.training)

    @property
    def norms(self) -> tuple[tuple[Tensor, Tensor] | None, ...]:
        """Those of the teacher as it is."""
        return self.network.norms

    def forward(
        self, images: Tensor, *, maps: bool = True, preactivations: bool = False, crop: bool | None = None
    ) -> Outputs:
        """Return the answer to a batch of images; see :meth:`dropkd.models.Network.forward`."""
        answer: Outputs = self.network(images, maps=maps, preactivations=preactivations, crop=crop)
        weight = answer.classifier
        return answer._replace(
            logits=self._join(answer.logits),
            members=(),
            classifier=weight[self.used] if self.shapes.has_classifier and weight is not None else None,
        )

    def _join(self, logits: Tensor) -> Tensor:
        # Sums of probabilities lose too much in half precision.
        kept = logits.to(torch.promote_types(logits.dtype, torch.float32))[:, self.used]
        group = self.group.expand_as(kept)
        highest = kept.new_full((len(kept), self.shapes.logits), -torch.inf).scatter_reduce(1, group, kept, "amax")
        total = torch.zeros_like(highest).scatter_add(1, group, (kept - highest.gather(1, group)).exp())
        return highest + total.log()
