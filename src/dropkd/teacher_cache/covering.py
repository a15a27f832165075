"""Whether what is kept of a teacher's answers holds what a run needs, and how the one becomes the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import Tensor

from dropkd.teacher_cache.encoding import Encoding, Number, Part, decode_part, encode_part

__all__ = ["find_cover", "fit_to_need", "name_shortcomings", "unite_parts"]

Grid = tuple[int, int]
# From the coarsest to the finest.
_NUMBERS: tuple[Number, ...] = ("int8", "float16", "float32")


def name_shortcomings(kept: Sequence[Part], needs: Iterable[Part]) -> list[str]:
    """Return what of the needs is not kept, or not as finely, as names such as ``map1.grid``.

    Example:
        >>> logits, few = Part("logits", (10,)), Part("logits", (10,), Encoding(top=3))
        >>> name_shortcomings([logits], [few, logits])
        []
        >>> name_shortcomings([few], [logits, Part("embedding", (64,))])
        ['logits.top', 'embedding.shape', 'embedding.number']
    """
    by_name = {part.name: part for part in kept}
    found = []
    for need in needs:
        part = by_name.get(need.name)
        fields = [key for key in need.to_dict() if key != "name"] if part is None else _compare(part, need)
        found += [f"{need.name}.{field}" for field in fields]
    return found


def find_cover(kept: Sequence[Part], need: Part) -> Part | None:
    """Return the part that holds what is needed, the same or finer; None where there is none."""
    return next((part for part in kept if part.name == need.name and not _compare(part, need)), None)


def fit_to_need(kept: Part, need: Part, values: Tensor) -> Tensor:
    """Return values of a part that covers a need as that need's own part would have them.

    A run so learns from the same numbers whichever cache serves it: bit for bit where single precision was kept, to
    within a rounding elsewhere.

    Args:
        kept: the part on disk.
        need: what is asked for.
        values: (B, ...), decoded, float32.
    """
    if kept.encoding == need.encoding:
        return values
    # The channels are reduced the same way already, or not at all.
    coarser = replace(need, encoding=replace(need.encoding, channels=None))
    return decode_part(coarser, encode_part(coarser, values, {}), {})


def unite_parts(several: Iterable[Sequence[Part]]) -> tuple[Part, ...]:
    """Return the smallest parts that cover the needs of several runs of one teacher.

    A map that is needed at several grids is kept at one that pools to each of them exactly, which may be its own. Maps
    that are reduced to other numbers of components can't be had from one part: that of the first is kept.

    Example:
        >>> pooled = [Part("map0", (3, 16, 16), Encoding(grid=grid)) for grid in ((4, 4), (8, 8), (7, 7))]
        >>> unite_parts([[part] for part in pooled[:2]])[0].encoding.grid
        (8, 8)
        >>> unite_parts([[part] for part in pooled])[0].encoding.grid is None
        True
    """
    by_name: dict[str, Part] = {}
    for parts in several:
        for part in parts:
            known = by_name.get(part.name)
            by_name[part.name] = part if known is None else _unite(known, part)
    return tuple(by_name.values())


def _compare(kept: Part, need: Part) -> list[str]:
    """Return the fields in which a part of the same name holds less than is needed."""
    one, other = kept.encoding, need.encoding
    short = {
        "shape": kept.shape != need.shape,
        "number": _NUMBERS.index(one.number) < _NUMBERS.index(other.number),
        "grid": len(need.shape) == 3 and not _pools_to(need.shape, _grid(kept), _grid(need)),
        # Other components are other numbers, and all channels are not reduced when they are read.
        "channels": one.channels != other.channels,
        "top": one.top is not None and (other.top is None or one.top < other.top),
    }
    return [name for name, is_short in short.items() if is_short]


def _grid(part: Part) -> Grid:
    return part.encoding.grid or (part.shape[1], part.shape[2])


def _pools_to(shape: Sequence[int], kept: Grid, needed: Grid) -> bool:
    """Tell whether a pooled map pools further as the map itself does: only where no cell is parted."""
    own = (shape[1], shape[2])
    if kept in (own, needed):
        return True
    return all(o % k == 0 and k % n == 0 for o, k, n in zip(own, kept, needed, strict=True))


def _unite(one: Part, other: Part) -> Part:
    """Return the smallest part of the same name that covers both."""
    grid = None
    if len(one.shape) == 3:
        own = (one.shape[1], one.shape[2])
        grids = (_grid(one), _grid(other))
        grid = next((g for g in grids if all(_pools_to(one.shape, g, needed) for needed in grids)), own)
        grid = None if grid == own else grid
    encoding = Encoding(
        max(one.encoding.number, other.encoding.number, key=_NUMBERS.index),
        grid,
        one.encoding.channels,
        None if one.encoding.top is None or other.encoding.top is None else max(one.encoding.top, other.encoding.top),
    )
    return replace(one, encoding=encoding)
