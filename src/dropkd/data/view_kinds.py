"""The kinds of view that a method may ask for, and which random numbers each takes."""

from __future__ import annotations

from dataclasses import dataclass

from dropkd.errors import ConfigError, did_you_mean

__all__ = ["VIEW_KINDS", "ViewPlan", "plan_view"]

VIEW_KINDS = ("standard", "mirrored", "mirrored_own_erasing", "strong")

# Which random numbers a view takes; the views of one stream share theirs.
_STANDARD, _STRONG, _OWN_ERASING = range(3)


@dataclass(frozen=True)
class ViewPlan:
    """One view: which random numbers place it and which paint it, and what is done to it.

    Args:
        stream: the random numbers of its crop, flip and operations.
        paint: those of its colours and of what is erased.
        strong: whether it is changed strongly.
        mirrored: whether it is shown in the mirror.
        jittered: whether the recipe's noise and changes of colour are for it.
    """

    stream: tuple[int, int]
    paint: tuple[int, int]
    strong: bool = False
    mirrored: bool = False
    jittered: bool = True


def plan_view(views: tuple[str, ...], position: int) -> ViewPlan:
    """Return a view's plan; the n-th mirrored view of either kind is placed like the n-th standard view.

    Raises:
        ConfigError: the kind is unknown.
    """
    kind = views[position]
    if kind not in VIEW_KINDS:
        raise ConfigError(f"unknown view {kind!r}. There are: {', '.join(VIEW_KINDS)}.{did_you_mean(kind, VIEW_KINDS)}")
    number = views[:position].count(kind)
    standard, strong, own_erasing = ((stream, number) for stream in (_STANDARD, _STRONG, _OWN_ERASING))
    plans = {
        "standard": ViewPlan(standard, standard),
        "mirrored": ViewPlan(standard, standard, mirrored=True),
        "mirrored_own_erasing": ViewPlan(standard, own_erasing, mirrored=True, jittered=False),
        "strong": ViewPlan(strong, strong, strong=True, jittered=False),
    }
    return plans[kind]
