"""What is shown of an image: its picture, the maps over it, and what each network answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dropkd.data import Split
from dropkd.overlays.asking import Pairing, load_picture
from dropkd.overlays.painting import encode_picture, fit_picture, paint_map, say_where
from dropkd.overlays.result import ExplainedImage, Look

__all__ = ["Painter"]


@dataclass(frozen=True)
class Painter:
    """Makes what is shown of an image.

    Args:
        split: the images.
        names: of the classes.
        several: whether an image may have several labels, or none.
        is_labelled: whether it is known what is true of an image.
    """

    split: Split
    names: Sequence[str]
    several: bool
    is_labelled: bool

    def show(self, row: int, pairing: Pairing) -> ExplainedImage:
        """Return an image of the split with its maps."""
        picture = fit_picture(load_picture(self.split, row))
        looks = []
        for who, view in pairing.views.items():
            shares = view.logits.sigmoid() if self.several else view.logits.softmax(0)
            named = torch.nonzero(shares >= 0.5).flatten().tolist() if self.several else [int(shares.argmax())]
            painted = None if view.values is None else paint_map(picture, view.values, pairing.seen[who])
            looks.append(
                Look(
                    who,
                    self._join(named),
                    None if self.several else float(shares.max()),
                    self._is_right(row, named),
                    float(shares[pairing.asked]),
                    None if view.values is None else tuple(tuple(r) for r in view.values.round(3).tolist()),
                    "nothing speaks for the class" if view.values is None else say_where(view.values),
                    None if painted is None else encode_picture(painted),
                )
            )
        true = self._join(self._truth(row)) if self.is_labelled else ""
        path = self.split.relative_paths[row] if self.is_labelled else str(self.split.paths[row])
        return ExplainedImage(
            path, true, self.names[pairing.asked], encode_picture(picture), tuple(looks), *pairing.compare()
        )

    def _truth(self, row: int) -> list[int]:
        targets = self.split.targets
        found: list[int] = np.flatnonzero(targets[row]).tolist() if self.several else [int(targets[row])]
        return found

    def _is_right(self, row: int, named: Sequence[int]) -> bool | None:
        return sorted(named) == self._truth(row) if self.is_labelled else None

    def _join(self, classes: Sequence[int]) -> str:
        return ", ".join(self.names[k] for k in classes) or "no label"
