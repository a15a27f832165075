"""Which parameters patterns name, and which modules rest while parameters wait."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase

from torch import nn

from dropkd.errors import ConfigError, did_you_mean
from dropkd.models.depth import Depths

__all__ = ["BACKBONE", "EMBEDDINGS", "find_resting", "match_patterns"]

# The words that stand for a part of any model.
BACKBONE, EMBEDDINGS = "backbone", "embeddings"


def match_patterns(model: nn.Module, depths: Depths, patterns: Sequence[str], model_name: str) -> frozenset[str]:
    """Return the names of the parameters that patterns stand for.

    Args:
        model: the model.
        depths: its layers.
        patterns: names of parameters or modules, with * for any letters; ``backbone`` is all but the classifier,
            ``embeddings`` the first layer.
        model_name: what the user calls the model.

    Raises:
        ConfigError: a pattern stands for nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    found: set[str] = set()
    for pattern in patterns:
        matched = [name for name in names if _matches(pattern, name, depths)]
        if not matched:
            known = [BACKBONE, EMBEDDINGS, *(name for name, _ in model.named_modules() if name), *names]
            raise ConfigError(
                f"'finetune.freeze': {pattern!r} matches no parameter and no module of {model_name!r}."
                f"{did_you_mean(pattern, known) or _list_parts(model)}"
            )
        found.update(matched)
    return frozenset(found)


def find_resting(
    model: nn.Module, depths: Depths, trained: Collection[str], waiting: Collection[str]
) -> Iterator[nn.Module]:
    """Yield the modules that are in evaluation mode while parameters wait.

    Args:
        model: the model.
        depths: its layers.
        trained: names of the parameters that are trained.
        waiting: names of those that wait for their turn, or for ever.
    """
    if not waiting:
        return
    if all(depths.is_head(name) for name in trained):
        # Dropout that is a member of the model itself, or called as a function, rests with the backbone.
        yield from (module for name, module in model.named_modules() if not depths.is_head(f"{name}."))
        return
    names = [name for name, _ in model.named_parameters()]
    for name, module in model.named_modules():
        inside = {other for other in names if other.startswith(f"{name}.")} if name else set(names)
        if inside & set(waiting) and not inside & set(trained):
            yield from module.modules()


def _matches(pattern: str, name: str, depths: Depths) -> bool:
    if pattern == BACKBONE:
        return not depths.is_head(name)
    if pattern == EMBEDDINGS:
        return depths.layers[name] == 0
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[: n + 1]), pattern) for n in range(len(parts)))


def _list_parts(model: nn.Module) -> str:
    return f" Its parts: {', '.join(name for name, _ in model.named_children())}; or 'backbone', 'embeddings'."
