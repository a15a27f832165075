"""The stem: the layers before the first stage, whose map is not among a network's maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

__all__ = ["drop_stem", "starts_with_stem"]

# timm's names of a stem's last module, where they don't begin with "stem" and it is no layer of timm's own.
_STEMS = ("act1", "act2", "bn1", "conv_stem", "layer0")


def starts_with_stem(model: nn.Module, count: int) -> bool:
    """Return whether the first of the ``count`` intermediate maps that a timm model gives is its stem's.

    The model says which module gives it: one named as a stem, or a single layer, such as a convolution with its norm.
    """
    described: Any = getattr(model, "feature_info", None)
    rows: Sequence[dict[str, Any]] = getattr(described, "info", described) or ()
    # Nothing is known of maps that the model does not describe one by one.
    if len(rows) != count:
        return False
    name = str(rows[0].get("module"))
    if name in _STEMS or any(part.startswith("stem") for part in name.split(".")):
        return True
    return type(dict(model.named_modules()).get(name)).__module__.startswith("timm.layers.")


def drop_stem(model: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Return the modules that give maps without the stem's.

    A stem has at most one convolution and comes before stages, which are modules of more. Where all maps come from
    single layers, as in a VGG, nothing tells a stem from the rest, and all are kept.

    Args:
        model: has the modules.
        names: of the modules, shallow to deep.
    """
    first = 0
    if (
        names
        and _count_convolutions(model, names[0]) <= 1
        and not _is_stage(model, names)
        and _has_later_stage(model, names)
    ):
        first = 1
        # A pooling after it is no stage either.
        while _count_convolutions(model, names[first]) == 0:
            first += 1
    return tuple(names[first:])


def _is_stage(model: nn.Module, names: Sequence[str]) -> bool:
    """Tell whether the first map comes from a member of the list of stages that give the later ones.

    A stage of a single small block has as few convolutions as a stem.
    """
    stages = names[0].rpartition(".")[0]
    alike = [name for name in names if name.rpartition(".")[0] == stages]
    return isinstance(model.get_submodule(stages), nn.ModuleList) and len(alike) > 1


def _has_later_stage(model: nn.Module, names: Sequence[str]) -> bool:
    """Tell whether a later map comes from a container of more convolutions, which is not around other maps."""
    first = _count_convolutions(model, names[0])
    return any(
        any(model.get_submodule(name).children())
        and _count_convolutions(model, name) > first
        and not any(other.startswith(f"{name}.") for other in names)
        for name in names[1:]
    )


def _count_convolutions(model: nn.Module, name: str) -> int:
    return sum(isinstance(module, nn.Conv2d) for module in model.get_submodule(name).modules())
