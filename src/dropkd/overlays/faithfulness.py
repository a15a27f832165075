"""Whether a map is true to its network: what covering the marked fifth of an image costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dropkd.models import Network
from dropkd.overlays.agreement import mark_highest, sample_map
from dropkd.overlays.occlusion import log_probability
from dropkd.statistics.arrays import BoolArray, FloatArray, Interval
from dropkd.statistics.intervals import percentile_interval
from dropkd.statistics.resampling import draw_statistics

__all__ = ["Faithfulness", "cover_costs", "sum_up_costs"]


@dataclass(frozen=True)
class Faithfulness:
    """What covering the marked fifth of an image costs on average.

    Args:
        images: over how many.
        own: the mean fall of the class's log-probability where the image's own map marks what is covered, in nats.
        other: the same where another image's map does.
        interval: the 95 % interval of the mean difference of the two, on other images.
    """

    images: int
    own: float
    other: float
    interval: Interval | None


def sum_up_costs(costs: Sequence[tuple[float, float]]) -> Faithfulness | None:
    """Return the means of what covering costs, with the image's own map and with another's; None without any."""
    if not costs:
        return None
    values = np.array(costs, np.float64)
    gain, count = values[:, 0] - values[:, 1], len(values)
    draws = draw_statistics({"mean": lambda weights: weights @ gain / count}, count)["mean"]
    interval = percentile_interval(draws) if count > 1 else None
    return Faithfulness(count, float(values[:, 0].mean()), float(values[:, 1].mean()), interval)


@torch.no_grad()
def cover_costs(
    network: Network,
    images: Tensor,
    asked: Tensor,
    maps: Sequence[FloatArray],
    share: float,
    *,
    multi_label: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return by how much a class's log-probability falls where the fifth that a map marks is covered.

    Covered is in the mean colour of the image. The same is done with the map of the next image of the batch in place of
    the image's own, which marks as much and in the same shapes.

    Args:
        network: in evaluation mode.
        images: (B, 3, h, w), frames as the network takes them; two or more.
        asked: (B,) int64, the class that each image is asked about.
        maps: B maps over what the network is shown.
        share: the centre part of the frame, per side, that maps are of.
        multi_label: whether an image may have several labels, or none.

    Returns:
        (B,) with the image's own map, and (B,) with another's, in nats.
    """
    pixels = images / 255 if images.dtype == torch.uint8 else images
    whole = log_probability(network.logits(pixels), asked, multi_label)
    marks = torch.from_numpy(np.stack([_mark(m, share, pixels.shape[-2:]) for m in maps])).to(pixels.device)

    def cost(covered: Tensor) -> Tensor:
        mean = pixels.mean((2, 3), keepdim=True)
        logits = network.logits(torch.where(covered[:, None], mean, pixels))
        return (whole - log_probability(logits, asked, multi_label)).cpu()

    return cost(marks), cost(marks.roll(1, 0))


def _mark(values: FloatArray, share: float, size: Sequence[int]) -> BoolArray:
    """Return which pixels of the frame are in the highest fifth of what the network is shown."""
    places = [(np.arange(side) + 0.5) / side for side in size]
    inside = [np.abs(place - 0.5) <= share / 2 for place in places]
    spread = sample_map(values, *((p[i] - 0.5) / share + 0.5 for p, i in zip(places, inside, strict=True)))
    marked = np.zeros(tuple(size), np.bool_)
    marked[np.ix_(*inside)] = mark_highest(spread.reshape(-1)).reshape(spread.shape)
    return marked
