"""Which taps a model gets: its own, timm's, or hooks on modules found by one dry run."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dropkd.contracts import Outputs, Shapes
from dropkd.errors import ModelError
from dropkd.models.hooks import HookTaps, find_logits, find_module, list_modules
from dropkd.models.scan import scan_modules
from dropkd.models.taps import IntermediatesTaps, TappedTaps, Taps, has_intermediates
from dropkd.models.tokens import spread_evenly

__all__ = ["find_taps"]


def find_taps(
    model: nn.Module, image: Tensor, map_modules: Sequence[str] | None, embedding_module: str | None
) -> tuple[Taps, Shapes]:
    """Return the taps of a model in evaluation mode, and what its answer looks like.

    Args:
        model: gives logits for normalised pixels.
        image: (1, 3, H, W), of the size that the model is fed.
        map_modules: names of the modules whose outputs are the maps, or None.
        embedding_module: name of the module whose output is the embedding, or None.

    Raises:
        ModelError: a name is not there or its output is no map; no classifier was found.
    """
    named = map_modules is not None or embedding_module is not None
    taps: Taps
    if not named and callable(getattr(model, "tapped", None)):
        taps = TappedTaps()
    elif not named and has_intermediates(model):
        return _choose_intermediates(model, image)
    else:
        taps = _set_hooks(model, image, map_modules, embedding_module)
    return taps, taps.read(model, image, maps=True).shapes


def _choose_intermediates(model: nn.Module, image: Tensor) -> tuple[Taps, Shapes]:
    """Take the deepest map of each resolution; of models with a single one, up to four evenly spaced."""
    answer = IntermediatesTaps().read(model, image, maps=True)
    sizes = [tuple(m.shape[-2:]) for m in answer.maps]
    if len(set(sizes)) > 1:
        last = {size: number for number, size in enumerate(sizes)}
        indices = tuple(sorted(last.values()))
    else:
        indices = spread_evenly(len(sizes))
    kept = Outputs(answer.logits, tuple(answer.maps[i] for i in indices), answer.embedding)
    return IntermediatesTaps(indices), kept.shapes


def _set_hooks(
    model: nn.Module, image: Tensor, map_modules: Sequence[str] | None, embedding_module: str | None
) -> HookTaps:
    channels_first = True
    if map_modules is None:
        map_modules, channels_first = _find_map_modules(model, image)
    elif getattr(model, "output_fmt", "NCHW") == "NHWC":
        channels_first = False
    for name in map_modules:
        find_module(model, name)
    if embedding_module is not None:
        find_module(model, embedding_module)
        return HookTaps(tuple(map_modules), embedding_output=embedding_module, channels_first=channels_first)
    classifier = _find_classifier(model, image)
    return HookTaps(tuple(map_modules), embedding_input=classifier, channels_first=channels_first)


def _find_map_modules(model: nn.Module, image: Tensor) -> tuple[tuple[str, ...], bool]:
    """Return the names of the modules that give the maps, and whether these have their channels first."""
    # torchvision's transformers are told by name; their maps are tokens or have the channels last.
    if type(model).__module__.startswith("torchvision."):
        if type(model).__name__ == "VisionTransformer":
            layers = [name for name, _ in model.get_submodule("encoder.layers").named_children()]
            return tuple(f"encoder.layers.{layers[i]}" for i in spread_evenly(len(layers))), True
        if type(model).__name__ == "SwinTransformer":
            # Patch embedding and merging take turns with the stages.
            stages = [name for name, _ in model.get_submodule("features").named_children()][1::2]
            return tuple(f"features.{name}" for name in stages), False
    return scan_modules(model, image).map_modules, True


def _find_classifier(model: nn.Module, image: Tensor) -> str:
    """Return the name of the last linear layer (or convolution) that gives one value a class."""
    scan = scan_modules(model, image)
    classes = find_logits(scan.output).shape[1]
    found = [name for name, width in scan.classifiers if width == classes]
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no linear layer that gives its {classes} logits, so it is not known "
            "what its classifier sees. Name the module whose output is the embedding by embedding_module. "
            f"Its modules:\n{list_modules(model)}"
        )
    return found[-1]
