"""What to do about a place that holds no images, where what is there tells it."""

from __future__ import annotations

from pathlib import Path

from dropkd.data.archives import advise_unpacking
from dropkd.data.torchvision_sets import advise_name

__all__ = ["advise"]


def advise(place: Path) -> str:
    """Return sentences, each after a space: how to unpack what is packed, and by which name a published set is opened.

    Example:
        >>> advise(Path("nowhere"))
        ''
    """
    return "".join(f" {advice}" for advice in (advise_unpacking(place), advise_name(place)) if advice)
