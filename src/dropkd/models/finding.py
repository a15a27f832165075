"""Which taps a model gets: its own, timm's, or hooks on modules found by one dry run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dropkd.contracts import Outputs
from dropkd.errors import ModelError
from dropkd.models.block_scan import find_blocks
from dropkd.models.hooks import HookTaps, find_logits, find_module, list_modules
from dropkd.models.scan import Scan, scan_modules
from dropkd.models.stem import drop_stem, starts_with_stem
from dropkd.models.taps import IntermediatesTaps, TappedTaps, Taps, classify, has_intermediates, offer_embedding
from dropkd.models.tokens import spread_evenly

__all__ = ["find_taps"]

# Where every transformer is a list of blocks that hand on tokens.
_BLOCK_LIBRARIES = ("transformers.models.", "open_clip.")

_logger = logging.getLogger(__name__)


def find_taps(
    model: nn.Module, image: Tensor, map_modules: Sequence[str] | None, embedding_module: str | None
) -> tuple[Taps, Outputs]:
    """Return the taps of a model in evaluation mode, and its answer to ``image``.

    Args:
        model: gives logits for normalised pixels.
        image: (1, 3, H, W), of the size that the model is fed.
        map_modules: names of the modules whose outputs are the maps, or None.
        embedding_module: name of the module whose output is the embedding, or None.

    Raises:
        ModelError: a name is not there or its output is no map; no classifier was found.
    """
    if map_modules is None and embedding_module is None:
        if callable(getattr(model, "tapped", None)):
            tapped = TappedTaps()
            return tapped, tapped.read(model, image, maps=True)
        if has_intermediates(model):
            found = _try_intermediates(model, image)
            if found is not None:
                return found
    taps = _set_hooks(model, image, map_modules, embedding_module)
    return taps, taps.read(model, image, maps=True)


def _try_intermediates(model: nn.Module, image: Tensor) -> tuple[Taps, Outputs] | None:
    """Return timm's taps, or None where they don't give the logits of a plain call (a subclass may change that)."""
    library: Any = model
    expected = find_logits(model(image))
    try:
        features, found = library.forward_intermediates(image, output_fmt="NCHW")
        taps = _part_head(model, image, features)
        logits, embedding = taps.read_head(model, features)
    except Exception as error:
        _logger.debug("%s: no intermediate maps (%s); set hooks instead", type(model).__name__, error)
        return None
    if not _are_alike(logits, expected):
        return None
    taps.indices = _choose_maps(model, found)
    return taps, Outputs(logits, tuple(found[i] for i in taps.indices), embedding)


def _part_head(model: nn.Module, image: Tensor, features: Any) -> IntermediatesTaps:
    """Return the taps for the way that the model's head gets from the features of its body to the logits."""
    library: Any = model
    classifier = library.get_classifier()
    # Several heads read different tokens.
    if isinstance(classifier, (tuple, list, nn.ModuleList)):
        return IntermediatesTaps(whole_head=True)
    seen: list[Tensor] = []
    handle = classifier.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        logits = library.forward_head(features)
    finally:
        handle.remove()
    embedding = offer_embedding(model, features)
    if embedding.ndim != 2 or not _are_equal(seen[0].flatten(1), embedding):
        return IntermediatesTaps(watched=_require_classifier(model, scan_modules(model, image)))
    return IntermediatesTaps(whole_head=not _are_equal(classify(model, embedding), logits))


def _choose_maps(model: nn.Module, maps: Sequence[Tensor]) -> tuple[int, ...]:
    """Return the deepest map of each resolution but the stem's; of maps with a single one, up to four evenly spaced."""
    sizes = [tuple(m.shape[-2:]) for m in maps]
    if len(set(sizes)) == 1:
        return spread_evenly(len(sizes))
    last = {size: number for number, size in enumerate(sizes)}
    chosen = sorted(last.values())
    if chosen[0] == 0 and starts_with_stem(model, len(maps)):
        chosen.pop(0)
    return tuple(chosen)


def _set_hooks(
    model: nn.Module, image: Tensor, map_modules: Sequence[str] | None, embedding_module: str | None
) -> HookTaps:
    scan = scan_modules(model, image)
    channels_first = getattr(model, "output_fmt", "NCHW") != "NHWC"
    if map_modules is None:
        known = _know_map_modules(model) or _find_transformer_blocks(model, image)
        map_modules, channels_first = (drop_stem(model, scan.map_modules), True) if known is None else known
    for name in (*map_modules, *([] if embedding_module is None else [embedding_module])):
        find_module(model, name)
    classifier = _require_classifier(model, scan) if embedding_module is None else None
    return HookTaps(
        tuple(map_modules),
        embedding_input=classifier,
        embedding_output=embedding_module,
        channels_first=channels_first,
    )


def _know_map_modules(model: nn.Module) -> tuple[tuple[str, ...], bool] | None:
    """Return the modules that give the maps of torchvision's transformers, which no change of resolution tells.

    Their maps may be tokens, or have the channels last; the second value is whether they have the channels first.
    """
    if not type(model).__module__.startswith("torchvision."):
        return None
    if type(model).__name__ == "VisionTransformer":
        layers = [name for name, _ in model.get_submodule("encoder.layers").named_children()]
        return tuple(f"encoder.layers.{layers[i]}" for i in spread_evenly(len(layers))), True
    if type(model).__name__ == "SwinTransformer":
        # Patch embedding and merging take turns with the stages.
        stages = [name for name, _ in model.get_submodule("features").named_children()][1::2]
        return tuple(f"features.{name}" for name in stages), False
    if type(model).__name__ == "MaxVit":
        # Its stem is as long as a block.
        return tuple(f"blocks.{name}" for name, _ in model.get_submodule("blocks").named_children()), True
    return None


def _find_transformer_blocks(model: nn.Module, image: Tensor) -> tuple[tuple[str, ...], bool] | None:
    """Return the blocks of a transformer of one of the libraries that write them as lists of blocks."""
    if not any(type(module).__module__.startswith(_BLOCK_LIBRARIES) for module in model.modules()):
        return None
    # Hiera hands on its tokens sorted by windows, which are no grid.
    if getattr(getattr(model, "config", None), "model_type", None) == "hiera":
        return (), True
    blocks = find_blocks(model, image)
    return (blocks, True) if blocks else None


def _require_classifier(model: nn.Module, scan: Scan) -> str:
    """Return the name of the layer that gives one value a class."""
    if scan.classifier is None:
        raise ModelError(
            f"{type(model).__name__} has no linear layer that gives its {scan.logits} logits, so it is not known "
            "what its classifier sees. Name the module whose output is the embedding by embedding_module. "
            f"Its modules:\n{list_modules(model)}"
        )
    return scan.classifier


def _are_equal(one: Tensor, other: Tensor) -> bool:
    # Tensors on the meta device have no values to compare.
    return one.shape == other.shape and (one.is_meta or torch.equal(one, other))


def _are_alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and (one.is_meta or torch.allclose(one, other, rtol=1e-3, atol=1e-4))
