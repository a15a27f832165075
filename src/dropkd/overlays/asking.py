"""Both networks asked about the same images and the same classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dropkd.data import Split
from dropkd.data.geometry import centre_box
from dropkd.data.images import decode_from
from dropkd.engine.evaluation import answer_split
from dropkd.engine.plan import evaluation_frame
from dropkd.errors import ModelError
from dropkd.models import Network
from dropkd.overlays.agreement import overlap, rank_correlation, share_points
from dropkd.overlays.choosing import Verdicts, judge_shares
from dropkd.overlays.viewing import View, Viewer
from dropkd.run import frame_loader
from dropkd.statistics.arrays import FloatArray, IntArray

__all__ = ["Pairing", "ask_networks", "judge_networks", "load_picture", "open_viewers"]

# Images at a time: gradients keep what the layers above the map compute.
_AT_ONCE = 8


@dataclass(frozen=True)
class Pairing:
    """What both networks say to one image.

    Args:
        asked: the class that they are asked about.
        views: by ``student`` and ``teacher``.
        seen: what each is shown: height and width of the centred part of the image, as shares of it.
    """

    asked: int
    views: dict[str, View]
    seen: dict[str, tuple[float, float]]

    def shared(self) -> tuple[FloatArray, FloatArray] | None:
        """Return both maps at points of what both are shown; None where there are not two."""
        if len(self.views) < 2:
            return None
        one, other = (self.views[who].values for who in ("teacher", "student"))
        if one is None or other is None:
            return None
        first, second = self.seen["teacher"], self.seen["student"]
        return share_points(one, first, second), share_points(other, second, first)

    def compare(self) -> tuple[float | None, float | None]:
        """Return the rank correlation of the two maps, and the overlap of the top fifth."""
        maps = self.shared()
        if maps is None:
            return None, None
        first, second = (values.reshape(1, -1) for values in maps)
        values = float(rank_correlation(first, second)[0, 0]), float(overlap(first, second)[0, 0])
        return values if np.isfinite(values).all() else (None, None)


def open_viewers(
    networks: dict[str, Network], way: str, split: Split, *, multi_label: bool, say: Callable[[str], None]
) -> tuple[str, dict[str, Viewer]]:
    """Return the way that is taken, and what asks each network.

    Args:
        networks: by ``student`` and ``teacher``, on their device.
        way: one of :data:`~dropkd.overlays.viewing.WAYS`; or ``auto``: Grad-CAM where each network is convolutional,
            else occlusion for all, so that what is compared has one meaning. Of a transformer Grad-CAM marks little
            that its answer hangs on.
        split: images that a network's place is looked for with.
        multi_label: whether an image may have several labels, or none.
        say: hears why something is left out.

    Raises:
        ModelError: the student can't be asked in this way.
    """
    samples = {who: _first_frames(network, split) for who, network in networks.items()}

    def open_one(who: str, chosen: str) -> Viewer:
        return Viewer(networks[who], chosen, samples[who], multi_label=multi_label)

    if way == "auto":
        found = _open_convolutional(open_one, samples)
        if found is not None:
            return "gradcam", found
        return "occlusion", {who: open_one(who, "occlusion") for who in networks}
    found = {"student": open_one("student", way)} if way != "attention" else {}
    for who in networks:
        if who in found:
            continue
        try:
            found[who] = open_one(who, way)
        except ModelError as error:
            say(f"The {who} is left out: {error}")
    if not found:
        raise ModelError("No network is left that can be asked in this way: take another (--by).")
    return way, {who: found[who] for who in networks if who in found}


def _open_convolutional(open_one: Callable[[str, str], Viewer], samples: dict[str, Tensor]) -> dict[str, Viewer] | None:
    """Return what asks the networks by Grad-CAM; None where one of them is not convolutional."""
    found = {}
    for who, sample in samples.items():
        try:
            found[who] = open_one(who, "gradcam")
        except ModelError:
            return None
        if not found[who].is_convolutional(sample):
            return None
    return found


def ask_networks(
    viewers: dict[str, Viewer],
    split: Split,
    choose_class: Callable[[int, Tensor], int],
    student: Network,
    progress: Callable[[int, int], None],
) -> list[Pairing]:
    """Return what the networks say to each image of a split.

    Args:
        viewers: what asks each network.
        split: the images.
        choose_class: gives the class that an image is asked about by its number and the student's logits (K,).
        student: whose answers decide.
        progress: hears how many images of how many are done.
    """
    device = next((p.device for p in student.parameters()), torch.device("cpu"))
    answers = answer_split(student, frame_loader(student, split, batch_size=64), device).logits
    asked = torch.tensor([choose_class(row, logits) for row, logits in enumerate(answers)])
    views: dict[str, list[View]] = {}
    done, total = 0, len(split) * len(viewers)
    for who, viewer in viewers.items():
        views[who] = []
        for batch in frame_loader(viewer.network, split, batch_size=_AT_ONCE):
            rows = slice(len(views[who]), len(views[who]) + len(batch.images))
            some = batch.images.to(device), asked[rows].to(device)
            views[who] += viewer.check(*some, list(viewer.look(*some)))
            done += len(batch.images)
            progress(done, total)
    pairings = []
    for row in range(len(split)):
        size = _measure(split, row)
        seen = {who: _measure_seen(viewer, size) for who, viewer in viewers.items()}
        pairings.append(Pairing(int(asked[row]), {who: found[row] for who, found in views.items()}, seen))
    return pairings


def judge_networks(networks: Sequence[Network], split: Split, progress: Callable[[int, int], None]) -> list[Verdicts]:
    """Return how right each network is on the images of a split."""
    found = []
    for network in networks:
        device = next((p.device for p in network.parameters()), torch.device("cpu"))
        answers = answer_split(network, frame_loader(network, split), device, progress=progress)
        shares = answers.logits.sigmoid() if split.multi_label else answers.logits.softmax(1)
        found.append(judge_shares(shares.numpy(), split.targets))
    return found


def load_picture(split: Split, row: int) -> Image.Image:
    """Return an image of a split as people see it."""
    if split.pack is not None:
        return Image.fromarray(split.pack[row])
    return decode_from(partial(split.images.read, row), str(split.paths[row]))


def _first_frames(network: Network, split: Split) -> Tensor:
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    rows: IntArray = np.arange(min(2, len(split)))
    (batch,) = frame_loader(network, split.take(rows), batch_size=2)
    return batch.images.to(device)


def _measure(split: Split, row: int) -> tuple[int, int]:
    """Return an image's height and width."""
    if split.sizes is not None:
        return int(split.sizes[row, 0]), int(split.sizes[row, 1])
    picture = load_picture(split, row)
    return picture.height, picture.width


def _measure_seen(viewer: Viewer, size: tuple[int, int]) -> tuple[float, float]:
    spec = viewer.network.spec
    frame = evaluation_frame(spec.image_size, spec.crop_fraction)
    left, top, right, bottom = centre_box(size, frame)
    return viewer.share * (bottom - top) / size[0], viewer.share * (right - left) / size[1]
