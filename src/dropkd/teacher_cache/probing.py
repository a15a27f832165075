"""Finds by trial what of a teacher's answer a method looks at, so that nothing else is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.contracts import Outputs
from dropkd.errors import DropKDError
from dropkd.teacher_cache.building import member_prefix

__all__ = ["MapUse", "find_map_uses"]

# A term that moves by less than this share of itself has not moved.
_TOLERANCE = 1e-4

Terms = Callable[[Outputs], Mapping[str, Tensor]]
# The grid that a map may be pooled to beforehand without any term noticing, or its own; None where nobody reads it.
MapUse = tuple[int, int] | None


def find_map_uses(terms: Terms, answer: Outputs, grids: Collection[tuple[int, int]]) -> dict[str, MapUse]:
    """Return for each map of an answer the smallest grid that it can be kept at, or None where it is not read.

    Each map is replaced by another one, and by itself pooled to each of the grids, and it is seen whether the terms
    move. What a method reads of its teacher so need not be declared, and can't be declared wrongly.

    Args:
        terms: the method's terms for an answer of the teacher, the same for the same answer.
        answer: to a few real images.
        grids: (height, width) that maps may be pooled to, such as those of the student's maps.
    """
    expected = terms(answer)
    uses: dict[str, MapUse] = {}
    for number, member in enumerate(answer.members):
        of_member = partial(_ask_with_member, terms, answer, number)
        found = find_map_uses(of_member, member, grids)
        uses |= {f"{member_prefix(number)}{name}": use for name, use in found.items()}
    for kind, values in (("map", answer.maps), ("preactivation", answer.preactivations)):
        for number, value in enumerate(values):
            put = partial(_put, answer, kind, number)
            name = f"{kind}{number}"
            generator = torch.Generator().manual_seed(number)
            noise = torch.randn(value.shape, generator=generator).to(value) * (value.std() + 1)
            if _is_same(terms, put(value + noise), expected):
                uses[name] = None
                continue
            own = (value.shape[2], value.shape[3])
            smaller = sorted({(min(own[0], h), min(own[1], w)) for h, w in grids} - {own}, key=lambda g: g[0] * g[1])
            uses[name] = next(
                (grid for grid in smaller if _is_same(terms, put(F.adaptive_avg_pool2d(value, grid)), expected)), own
            )
    return uses


def _ask_with_member(terms: Terms, answer: Outputs, number: int, member: Outputs) -> Mapping[str, Tensor]:
    """Return the terms where one of an ensemble's members answers so."""
    members = list(answer.members)
    members[number] = member
    return terms(answer._replace(members=tuple(members)))


def _put(answer: Outputs, kind: str, number: int, value: Tensor) -> Outputs:
    """Return the answer with one of its maps replaced."""
    values = list(answer.maps if kind == "map" else answer.preactivations)
    values[number] = value
    return answer._replace(maps=tuple(values)) if kind == "map" else answer._replace(preactivations=tuple(values))


def _is_same(terms: Terms, answer: Outputs, expected: Mapping[str, Tensor]) -> bool:
    try:
        found = terms(answer)
    except (DropKDError, RuntimeError, ValueError, IndexError):
        # A method that can't take the map at another size needs it as it is.
        return False
    return found.keys() == expected.keys() and all(
        torch.allclose(found[name], expected[name], rtol=_TOLERANCE, atol=1e-8) for name in expected
    )
