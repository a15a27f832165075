"""What several runs need alike, made once: an opened data set, a teacher, its answers to a split."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

__all__ = ["Shared"]

_Made = TypeVar("_Made")


class Shared:
    """Remembers what was made for one run, for the runs that follow it in this process.

    A run alone has one of its own, and so has each group of runs. What is remembered must not be changed by a run.

    Example:
        >>> shared = Shared()
        >>> shared.remember("answer", lambda: 42), shared.remember("answer", lambda: 43)
        (42, 42)
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def remember(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """Return what was made under this key, made now where it was not there.

        Args:
            key: all that it depends on. An object that a key tells by its ``id`` must itself be remembered, so that
                no other one gets that number.
            make: what makes it; where it raises, nothing is remembered.
        """
        if key not in self._made:
            self._made[key] = make()
        return cast(_Made, self._made[key])
