"""The blocks of a transformer, found by one watched pass: the modules that hand on tokens of one grid."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dropkd.errors import ModelError
from dropkd.models.tokens import find_grid, spread_evenly

__all__ = ["find_blocks"]


def find_blocks(model: nn.Module, image: Tensor) -> tuple[str, ...]:
    """Return the modules whose outputs are the maps of a transformer, or nothing where it has no such blocks.

    A block is a member of a list or a sequence of modules, has modules inside, gives tokens (1, N, D) for one image,
    and holds no smaller block. Of blocks at several resolutions the last of each is taken, of those at a single one up
    to four evenly spaced.

    Args:
        model: in evaluation mode.
        image: (1, 3, H, W), normalised, of the size that the model is fed.
    """
    lists = {name for name, module in model.named_modules() if isinstance(module, (nn.ModuleList, nn.Sequential))}
    size = (image.shape[-2], image.shape[-1])
    found: dict[str, tuple[int, int]] = {}

    def watch(name: str, module: nn.Module) -> Any:
        def note(module: nn.Module, args: Any, output: Any) -> None:
            tokens = output[0] if isinstance(output, (tuple, list)) and output else output
            grid = _fold(tokens, size)
            if grid is not None:
                found[name] = grid

        return module.register_forward_hook(note)

    handles = [
        watch(name, module)
        for name, module in model.named_modules()
        if name.rpartition(".")[0] in lists and name not in lists and any(True for _ in module.children())
    ]
    try:
        model(image)
    finally:
        for handle in handles:
            handle.remove()
    smallest = [name for name in found if not any(other.startswith(f"{name}.") for other in found)]
    last = {found[name]: name for name in smallest}
    if len(last) > 1:
        return tuple(last.values())
    return tuple(smallest[number] for number in spread_evenly(len(smallest)))


def _fold(tokens: Any, size: tuple[int, int]) -> tuple[int, int] | None:
    """Return the grid of tokens (1, N, D), or None for anything else; a single token is no grid."""
    if not isinstance(tokens, Tensor) or tokens.ndim != 3 or len(tokens) != 1:
        return None
    try:
        grid = find_grid(tokens.shape[1], size)
    except ModelError:
        return None
    return grid if grid[0] * grid[1] > 1 else None
