"""One network's maps of some images, whatever the network and whatever way they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from dropkd.errors import ConfigError, ModelError, did_you_mean
from dropkd.models import Network
from dropkd.models.teachers.ensemble import EnsembleTeacher
from dropkd.overlays.agreement import sample_map
from dropkd.overlays.attention import attention_maps, has_attention
from dropkd.overlays.faithfulness import cover_costs
from dropkd.overlays.gradients import gradient_maps
from dropkd.overlays.occlusion import occlusion_maps
from dropkd.overlays.places import Place, find_place
from dropkd.statistics.arrays import FloatArray

__all__ = ["WAYS", "View", "Viewer", "check_way"]

WAYS = ("gradcam", "hirescam", "occlusion", "attention")
# Positions a side of the mean of several networks' maps.
_JOINED = 16


@dataclass(frozen=True)
class View:
    """What a network answers to an image, and where it looks for a class.

    Args:
        values: (H, W) over the part of its frame that it is shown, between 0 and 1 at the highest; None where nothing
            speaks for the class.
        logits: (K,).
        costs: by how much the class's log-probability falls where the fifth of the image that this map marks is
            covered, and where the fifth that another image's map marks is; None where that was not tried.
    """

    values: FloatArray | None
    logits: Tensor
    costs: tuple[float, float] | None = None


class Viewer:
    """Asks a network where it looks; of an ensemble each member, for their mean.

    Args:
        network: it is put into evaluation mode, and its parameters get no gradients any more.
        way: one of ``WAYS``.
        sample: two images or so, as the network takes them.
        multi_label: whether an image may have several labels, or none.

    Raises:
        ModelError: the network can't be asked in this way.
    """

    def __init__(self, network: Network, way: str, sample: Tensor, *, multi_label: bool = False) -> None:
        self.network = network.eval().requires_grad_(False)
        self.way = way
        self.multi_label = multi_label
        self.members: tuple[Viewer, ...] = ()
        self.place: Place | None = None
        if isinstance(network, EnsembleTeacher):
            members = network.list_members()
            self.members = tuple(Viewer(member, way, sample, multi_label=multi_label) for member in members)
        elif way in ("gradcam", "hirescam"):
            self.place = find_place(network, sample)
        elif way == "attention":
            attention_maps(network, sample[:1])

    def is_convolutional(self, sample: Tensor) -> bool:
        """Return whether the map is one of channels and nothing in the network weighs positions by attention."""
        if self.members:
            return all(member.is_convolutional(sample) for member in self.members)
        has_channels = self.place is not None and self.place.layout == "channels first"
        return has_channels and not has_attention(self.network, sample)

    @property
    def share(self) -> float:
        """The part of the frame, along each side, that maps are of."""
        return 1.0 if self.members else self.network.spec.crop_fraction

    def describe(self) -> str:
        """Say where in the network its map is read."""
        if self.members:
            return f"the mean over {len(self.members)} networks"
        if self.place is not None:
            return str(self.place)
        return "the answers to 49 covered images" if self.way == "occlusion" else "the attention of all layers"

    def look(self, images: Tensor, asked: Tensor) -> Iterator[View]:
        """Give a view of each image.

        Args:
            images: (B, 3, h, w), frames as the network takes them.
            asked: (B,) int64, the class that each is asked about.
        """
        if self.members:
            every = [list(member.look(images, asked)) for member in self.members]
            logits = self.network.logits(images).detach()
            for row in range(len(images)):
                shares = [
                    _place_in_frame(views[row], viewer.share) for viewer, views in zip(self.members, every, strict=True)
                ]
                yield View(_scale(np.mean(shares, axis=0)), logits[row].float().cpu())
            return
        maps, logits = self._ask(images, asked)
        for values, own in zip(maps.double().cpu().numpy(), logits.float().cpu(), strict=True):
            yield View(_scale(values), own)

    def check(self, images: Tensor, asked: Tensor, views: Sequence[View]) -> list[View]:
        """Return the views with what covering their marked parts costs; see :meth:`look`."""
        rows = [row for row, view in enumerate(views) if view.values is not None]
        if len(rows) < 2:
            return list(views)
        maps = [values for view in views if (values := view.values) is not None]
        own, other = cover_costs(
            self.network, images[rows], asked[rows], maps, self.share, multi_label=self.multi_label
        )
        costs = dict(zip(rows, zip(own.tolist(), other.tolist(), strict=True), strict=True))
        return [replace(view, costs=costs.get(row)) for row, view in enumerate(views)]

    def _ask(self, images: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        if self.way == "occlusion":
            return occlusion_maps(self.network, images, asked, multi_label=self.multi_label)
        if self.way == "attention":
            return attention_maps(self.network, images)
        if self.place is None:
            raise ModelError(f"{self.network.spec.name!r} shows no map.")
        return gradient_maps(self.network, images, asked, self.place, averaged=self.way == "gradcam")


def check_way(way: str) -> None:
    """Make sure that there is such a way of asking.

    Raises:
        ConfigError: there is none.
    """
    known = ("auto", *WAYS)
    if way not in known:
        raise ConfigError(f"unknown way {way!r}. There are: {', '.join(known)}.{did_you_mean(way, known)}")


def _scale(values: FloatArray) -> FloatArray | None:
    """Return values that are 1 at the highest; None where none is above 0."""
    highest = values.max()
    return values / highest if np.isfinite(values).all() and highest > 0 else None


def _place_in_frame(view: View, share: float) -> FloatArray:
    """Return a map over the whole frame: nothing beyond the part that the network is shown."""
    if view.values is None:
        return np.zeros((_JOINED, _JOINED))
    even = (np.arange(_JOINED) + 0.5) / _JOINED
    inside = (np.abs(even - 0.5) <= share / 2).astype(np.float64)
    spread = sample_map(view.values, (even - 0.5) / share + 0.5, (even - 0.5) / share + 0.5)
    framed: FloatArray = spread * inside[:, None] * inside[None]
    return framed
