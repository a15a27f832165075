"""What a check finds: how bad it is, what it is called, and each case with the images that it is about."""

from __future__ import annotations

from dataclasses import dataclass

from dropkd.data.check.subject import ImageRef

__all__ = ["LEVELS", "Finding", "Item"]

# In the order in which they are told. An error stops training, or makes its figures wrong without a word.
LEVELS = ("error", "warning", "note")


@dataclass(frozen=True)
class Item:
    """One case of a finding.

    Args:
        text: what is the matter, without the images' names; empty where the finding's title says it.
        images: the images that it is about.
        distance: the bits of 256 in which the perceptual hashes of two copies differ, 0 for pixels that are the same.
    """

    text: str = ""
    images: tuple[ImageRef, ...] = ()
    distance: int | None = None


@dataclass(frozen=True)
class Finding:
    """Something that was found.

    Args:
        kind: a fixed name for programs, such as ``unreadable``.
        level: ``error``, ``warning`` or ``note``.
        title: what was found, with its number.
        advice: what to do about it, or what training makes of it.
        items: each case.
    """

    kind: str
    level: str
    title: str
    advice: str = ""
    items: tuple[Item, ...] = ()
