"""Tensors by name into a model: names and layouts aligned, and each difference told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping

from torch import Tensor, nn

from dropkd.errors import ModelError, did_you_mean

__all__ = ["align_tensors", "count_classes", "fit_tensors"]

# What wrappers (DataParallel, compile, training classes) put before each key.
_PREFIXES = ("module.", "_orig_mod.", "model.", "student.")
# What a distiller puts before the keys of the network that it trained; its teacher and projectors are beside it.
_TRAINED = "student."
# Beyond this many, more lines of a kind say nothing new.
_MAX_LISTED = 100


def fit_tensors(
    model: nn.Module, tensors: Mapping[str, Tensor], *, subject: str, fresh_head: bool = False
) -> tuple[str, ...]:
    """Load tensors into a model, and return the names of the parameters that kept their own values.

    Args:
        model: takes the weights.
        tensors: by name.
        subject: how the error message begins.
        fresh_head: let the classifier keep its own values where the tensors' has another number of classes.

    Raises:
        ModelError: they belong to another architecture; the text names each key with its shapes.
    """
    own = model.state_dict()
    aligned = align_tensors(model, tensors)
    kept: tuple[str, ...] = ()
    if fresh_head:
        heads = [f"{name}.{kind}" for name in _find_heads(model) for kind in ("weight", "bias")]
        kept = tuple(key for key in heads if key in own and not _same_shape(aligned.get(key), own[key]))
    # Files from before 2018 lack the step counters of batch normalisation, which nothing reads.
    counters = [key for key in own if key.endswith("num_batches_tracked") and key not in aligned]
    aligned.update({key: own[key] for key in (*kept, *counters)})
    differences = _describe_differences(own, aligned)
    if differences:
        raise ModelError(f"{subject}:\n{differences}")
    model.load_state_dict(aligned)
    return kept


def count_classes(model: nn.Module, tensors: Mapping[str, Tensor]) -> int | None:
    """Return the number of logits of the classifier among the tensors, or None where it is not among them."""
    aligned = align_tensors(model, tensors)
    for name in _find_heads(model):
        if f"{name}.weight" in aligned:
            return int(aligned[f"{name}.weight"].shape[0])
    return None


def align_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by their names in the model, as far as prefixes and timm's own conversions allow."""
    own = model.state_dict()
    # Numbers that a training script put beside the weights as tensors, such as the best accuracy.
    weights = {key: value for key, value in tensors.items() if value.ndim or "." in key or key in own}
    aligned = _strip_prefixes(weights, own)
    if aligned.keys() == own.keys() and all(_same_shape(aligned[key], own[key]) for key in own):
        return aligned
    # timm's modules bring a function that translates the files of the models' original authors, and
    # resamples position embeddings to another image size.
    convert: Callable[..., dict[str, Tensor]] | None
    convert = getattr(sys.modules.get(type(model).__module__), "checkpoint_filter_fn", None)
    if convert is None:
        return aligned
    try:
        converted = convert(dict(aligned), model)
    except Exception:
        # It was written for the right architecture only; what does not fit is told by the caller.
        return aligned
    return dict(converted) if len(own.keys() & converted.keys()) >= len(own.keys() & aligned.keys()) else aligned


def _strip_prefixes(tensors: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    stripped = dict(tensors)
    while stripped and not any(key in own for key in stripped):
        prefix = next((p for p in _PREFIXES if all(key.startswith(p) for key in stripped)), _TRAINED)
        inside = {key.removeprefix(prefix): value for key, value in stripped.items() if key.startswith(prefix)}
        if not inside:
            return dict(tensors)
        stripped = inside
    return stripped


def _find_heads(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers that give the logits."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))}
    get_classifier = getattr(model, "get_classifier", None)
    if get_classifier is None:
        return tuple(layers)[-1:]
    found = get_classifier()
    heads = found if isinstance(found, (tuple, list)) else (found,)
    inside = {id(module) for head in heads for module in head.modules()}
    return tuple(name for name, module in layers.items() if id(module) in inside)


def _describe_differences(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """Return one line a key that is missing, left over or misshaped, or an empty string."""
    missing = [f"  {key} {tuple(own[key].shape)}" for key in own if key not in other]
    unexpected = [
        f"  {key} {tuple(other[key].shape)}{_suggest_key(key, own, other)}" for key in sorted(other.keys() - own.keys())
    ]
    misshaped = [
        f"  {key} {tuple(other[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in other and not _same_shape(other[key], own[key])
    ]
    parts = (
        ("missing from the file", missing),
        ("in the file, not in the model", unexpected),
        ("of another shape in the file", misshaped),
    )
    return "\n".join(_list_keys(title, lines) for title, lines in parts if lines)


def _suggest_key(key: str, own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """Return the nearest of the keys that the file lacks and whose shape is that of ``key``, as a sentence."""
    nearest = did_you_mean(key, [name for name in own if name not in other and _same_shape(other[key], own[name])])
    return f".{nearest}" if nearest else ""


def _list_keys(title: str, lines: list[str]) -> str:
    shown = lines[:_MAX_LISTED]
    more = [f"  ... and {len(lines) - len(shown)} more"] if len(lines) > len(shown) else []
    return "\n".join([f"{len(lines)} {title}:", *shown, *more])


def _same_shape(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and one.shape == other.shape
