"""Taps for any module: hooks that are set for one pass and taken off again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dropkd.contracts import Outputs
from dropkd.errors import ModelError, did_you_mean
from dropkd.models.tokens import find_grid, fold_tokens

__all__ = ["HookTaps", "find_logits", "find_module", "list_modules"]

# A listing longer than this no longer helps.
_MAX_LISTED = 60


class HookTaps:
    """Reads the outputs of named modules as maps, and an embedding beside them.

    Args:
        map_modules: names of the modules whose outputs are the maps, shallow to deep: (B, C, H, W), or tokens
            (B, N, D), which are folded to the grid that the image's proportions suggest.
        embedding_input: name of the module whose input is the embedding (the classifier), or None.
        embedding_output: name of the module whose output is the embedding, where the former is None.
        channels_first: whether 4-D maps are (B, C, H, W); else (B, H, W, C).
    """

    def __init__(
        self,
        map_modules: tuple[str, ...],
        *,
        embedding_input: str | None = None,
        embedding_output: str | None = None,
        channels_first: bool = True,
    ) -> None:
        self.map_modules = map_modules
        self.embedding_input = embedding_input
        self.embedding_output = embedding_output
        self.channels_first = channels_first

    # Hooks that come and go make torch.compile start over at each step; such a model runs as it is.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def read(self, model: nn.Module, pixels: Tensor, *, maps: bool) -> Outputs:
        """Run the model once; see :class:`~dropkd.models.taps.Taps`."""
        found: dict[str, Tensor] = {}
        handles: list[RemovableHandle] = []
        names = self.map_modules if maps else ()
        try:
            handles.extend(_watch_output(model, name, found) for name in names)
            handles.append(self._watch_embedding(model, found))
            logits = find_logits(model(pixels))
        finally:
            for handle in handles:
                handle.remove()
        image_size = (pixels.shape[-2], pixels.shape[-1])
        kept = tuple(self._to_map(name, _pick(found, name), image_size) for name in names)
        return Outputs(logits, kept, _to_vector(_pick(found, "")))

    def _watch_embedding(self, model: nn.Module, found: dict[str, Tensor]) -> RemovableHandle:
        if self.embedding_input is not None:
            return model.get_submodule(self.embedding_input).register_forward_pre_hook(_keep_input(found, ""))
        return _watch_output(model, self.embedding_output or "", found, key="")

    def _to_map(self, name: str, output: Tensor, image_size: tuple[int, int]) -> Tensor:
        if output.ndim == 4:
            return output if self.channels_first else output.permute(0, 3, 1, 2)
        if output.ndim == 3:
            return fold_tokens(output, find_grid(output.shape[1], image_size))
        raise ModelError(
            f"Module {name!r} gives {tuple(output.shape)}, which is no feature map. "
            "Name modules whose output is (B, C, H, W) or tokens (B, N, D)."
        )


def find_module(model: nn.Module, name: str) -> nn.Module:
    """Return the module of that name.

    Raises:
        ModelError: there is none; the text lists those that there are.
    """
    modules = dict(model.named_modules())
    if name and name in modules:
        return model.get_submodule(name)
    raise ModelError(
        f"{type(model).__name__} has no module {name!r}.{did_you_mean(name, modules)} "
        f"Its modules:\n{list_modules(model)}"
    )


def list_modules(model: nn.Module) -> str:
    """Return one line for each module, outer ones first where there are too many for all."""
    rows = [(name, type(module).__name__) for name, module in model.named_modules() if name]
    depth = max((name.count(".") for name, _ in rows), default=0)
    shown = rows
    while len(shown) > _MAX_LISTED and depth > 0:
        depth -= 1
        shown = [row for row in rows if row[0].count(".") <= depth]
    lines = [f"  {name} ({kind})" for name, kind in shown[:_MAX_LISTED]]
    if len(lines) < len(rows):
        lines.append(f"  ... and {len(rows) - len(lines)} more inside or after these")
    return "\n".join(lines)


def find_logits(output: Any) -> Tensor:
    """Return the logits of an answer: a tensor, an object or dict with ``logits``, or the first of a tuple.

    Raises:
        ModelError: there is no tensor (B, K) in it.
    """
    logits = output
    if isinstance(output, dict):
        logits = output.get("logits")
    elif hasattr(output, "logits"):
        logits = output.logits
    elif isinstance(output, (tuple, list)) and output:
        logits = output[0]
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(output).__name__
        raise ModelError(f"The model must answer with logits of shape (B, K), got {got}.")
    return logits


def _watch_output(model: nn.Module, name: str, found: dict[str, Tensor], key: str | None = None) -> RemovableHandle:
    def keep(module: nn.Module, args: Any, output: Any) -> None:
        first = output[0] if isinstance(output, (tuple, list)) else output
        if isinstance(first, Tensor):
            found[name if key is None else key] = first

    return model.get_submodule(name).register_forward_hook(keep)


def _keep_input(found: dict[str, Tensor], name: str) -> Callable[[nn.Module, Any], None]:
    def keep(module: nn.Module, args: Any) -> None:
        found[name] = args[0]

    return keep


def _pick(found: dict[str, Tensor], name: str) -> Tensor:
    if name not in found:
        raise ModelError(f"Module {name or 'of the embedding'!r} took no part in the pass or gave no tensor.")
    return found[name]


def _to_vector(embedding: Tensor) -> Tensor:
    """Return (B, D): maps (B, D, H, W) averaged over their positions, tokens (B, N, D) over their number."""
    if embedding.ndim == 3:
        return embedding.mean(1)
    return embedding.flatten(2).mean(2) if embedding.ndim == 4 else embedding
