"""Numbers and lists of names in messages."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["count_of", "enumerate_some"]


def count_of(number: int, thing: str) -> str:
    """Return a number with its thing, in the plural where there is not one.

    Example:
        >>> count_of(1, "image"), count_of(12271, "image")
        ('1 image', '12,271 images')
    """
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def enumerate_some(items: Sequence[str], most: int) -> str:
    """Return the first items with commas between them, and how many more there are.

    Example:
        >>> enumerate_some(["a", "b", "c"], 2)
        'a, b and 1 more'
    """
    rest = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(items[:most]) + rest
