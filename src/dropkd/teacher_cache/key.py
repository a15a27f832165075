"""What a teacher's answers depend on: a cache is used only where all of it is the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CacheKey"]


@dataclass(frozen=True)
class CacheKey:
    """Everything that decides a cached number, by name.

    Args:
        fields: plain JSON values.

    Example:
        >>> one, other = CacheKey({"seed": 0, "data": "a"}), CacheKey({"seed": 1, "data": "a"})
        >>> one.differences(other)
        ['seed']
        >>> one.digest == CacheKey({"data": "a", "seed": 0}).digest
        True
    """

    fields: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """A SHA-256 of all fields, as hexadecimal digits."""
        text = json.dumps(self.fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def differences(self, other: CacheKey) -> list[str]:
        """Return the names of the fields that differ, with dots where a part of one does."""
        return sorted(_compare(self.fields, other.fields, ""))

    def nearest(self, others: Iterable[CacheKey]) -> CacheKey | None:
        """Return the one that differs in the fewest fields, or None where there is none."""
        return min(others, key=lambda other: len(self.differences(other)), default=None)


def _compare(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str) -> list[str]:
    found = []
    for name in one.keys() | other.keys():
        first, second = one.get(name), other.get(name)
        kinds = {type(value) for value in (first, second) if value is not None}
        if kinds == {dict}:
            # What one of them lacks altogether differs in each of its parts.
            found += _compare(first or {}, second or {}, f"{prefix}{name}.")
        elif first != second or (name in one) != (name in other):
            found.append(f"{prefix}{name}")
    return found
