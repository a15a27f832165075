"""The weight of the linear layer that turns a model's embedding into its logits."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from dropkd.contracts import Outputs
from dropkd.models.hooks import find_logits

__all__ = ["find_classifier", "read_classifier"]

_logger = logging.getLogger(__name__)

# Share of the largest logit by which a layer run in half precision, or on a GPU in TF32, may miss the product that it
# stands for; a layer that isn't the classifier misses it by about the whole.
_TOLERANCE = 1e-2


def find_classifier(model: nn.Module, image: Tensor, answer: Outputs) -> str | None:
    """Return the name of the linear layer or 1x1 convolution that turns the embedding into the logits, or None.

    A layer is tried by one pass with other weights in its place, which leaves the model as it is: classifiers often
    start at zero, and with zeros any layer of the right shape would seem to give the logits.

    Args:
        model: in evaluation mode.
        image: (1, 3, H, W), normalised, of the size that the model is fed.
        answer: the model's answer to it.
    """
    # Without values there is nothing to try it by.
    if answer.logits.is_meta:
        return None
    shape = (answer.logits.shape[1], answer.embedding.shape[1])
    layers = [(name, module) for name, module in model.named_modules() if _read_shape(module) == shape]
    # The classifier is mostly the last one.
    return next((name for name, layer in reversed(layers) if _is_classifier(model, name, layer, image, answer)), None)


def read_classifier(model: nn.Module, name: str | None) -> Tensor | None:
    """Return the weight (K, D) of the layer of that name, or None where there is none to read."""
    if name is None:
        return None
    weight = getattr(model.get_submodule(name), "weight", None)
    # The layers of quantised models, which may have taken its place, have a method of that name.
    return weight.flatten(1) if isinstance(weight, Tensor) else None


def _read_shape(module: nn.Module) -> tuple[int, ...] | None:
    """Return (K, D) of a linear layer or of a 1x1 convolution, None for any other module."""
    if not isinstance(module, (nn.Linear, nn.Conv2d)) or not isinstance(module.weight, nn.Parameter):
        return None
    shape = tuple(module.weight.shape)
    return shape[:2] if shape[2:] in ((), (1, 1)) else None


def _is_classifier(model: nn.Module, name: str, layer: nn.Module, image: Tensor, answer: Outputs) -> bool:
    """Tell whether the logits are the embedding times the layer's weight plus its bias, whatever the weight."""
    own, bias = layer.get_parameter("weight"), getattr(layer, "bias", None)
    other = torch.randn_like(own) * own.shape[1] ** -0.5
    try:
        logits = find_logits(functional_call(model, {f"{name}.weight": other}, (image,)))
    except Exception as error:
        _logger.debug("%s: %s can't be tried as the classifier (%s)", type(model).__name__, name, error)
        return False
    expected = F.linear(answer.embedding.float(), other.flatten(1).float(), None if bias is None else bias.float())
    return bool((logits.float() - expected).abs().max() <= _TOLERANCE * expected.abs().max())
