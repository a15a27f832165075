"""What a network costs: parameters and multiply-adds of one image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dropkd.errors import ModelError
from dropkd.models import Network, count_parameters
from dropkd.models.names import find_library
from dropkd.models.spec import parse_image_size
from dropkd.models.wrapping import read_defaults

__all__ = ["Cost", "count_macs", "measure_cost"]

# What some counters add to the products: a norm scales and shifts each value, an activation takes each value once.
# Names differ by device and version of torch, so those that are not there are passed over.
_NORMS = (
    *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"),
    *("native_layer_norm", "native_group_norm", "_fused_rms_norm"),
)
_ACTIVATIONS = (
    *("relu", "relu_", "relu6", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "elu", "elu_", "gelu", "gelu_"),
    *("silu", "silu_", "hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_", "sigmoid", "sigmoid_", "tanh"),
    *("tanh_", "mish", "mish_", "_prelu_kernel"),
)


@dataclass(frozen=True)
class Cost:
    """What one image costs a network.

    Args:
        parameters: shared ones once, buffers not.
        macs: multiply-adds of convolutions, linear layers and attention, biases not among them.
        elementwise: 2 for each value that a norm gives and 1 for each that an activation gives, which some counters
            add.
        image_size: height and width of the image.
    """

    parameters: int
    macs: int
    elementwise: int
    image_size: tuple[int, int]


def count_macs(
    model: str | nn.Module, image_size: int | Sequence[int] | None = None, num_classes: int | None = None
) -> int:
    """Return the multiply-adds of one image: convolutions, linear layers and attention.

    A multiply-add is counted once; papers that call it two operations print twice as much.

    Args:
        model: a model's name, a module or a :class:`~dropkd.models.Network`.
        image_size: side, or height and width; by default what the model was made for.
        num_classes: number of logits of a model given by name; by default that of its published weights.

    Raises:
        ModelError: an unknown model, an image size that it can't take or that is not known.

    Example:
        >>> count_macs("resnet18", 224, num_classes=7)
        1813564928
    """
    return measure_cost(model, image_size, num_classes).macs


def measure_cost(
    model: str | nn.Module, image_size: int | Sequence[int] | None = None, num_classes: int | None = None
) -> Cost:
    """Return parameters and multiply-adds, from one pass without values wherever the model allows that.

    Args:
        model: a model's name, a module or a :class:`~dropkd.models.Network`.
        image_size: side, or height and width; by default what the model was made for.
        num_classes: number of logits of a model given by name; by default that of its published weights.

    Raises:
        ModelError: an unknown model, an image size that it can't take or that is not known.
    """
    size = parse_image_size(image_size)
    if isinstance(model, str):
        return _measure_by_name(model, size, num_classes)
    if isinstance(model, Network):
        return _measure_module(model.model, size or model.spec.image_size, model.spec.name)
    if size is None:
        own = read_defaults(model)
        if own is None:
            raise ModelError(f"{type(model).__name__} needs image_size, the size of the image that is counted.")
        size = own.image_size
    return _measure_module(model, size, type(model).__name__)


def _measure_by_name(name: str, size: tuple[int, int] | None, num_classes: int | None) -> Cost:
    library, bare, _ = find_library(name)
    defaults = library.defaults(bare)
    # Some published weights are towers without a classifier; those count as they are.
    width = defaults.num_classes if num_classes is None else num_classes
    if width < 0 or (num_classes is not None and width < 1):
        raise ModelError(f"{name!r} needs at least one class, got num_classes={num_classes!r}.")
    chosen = size or defaults.image_size

    def build() -> nn.Module:
        return library.build(bare, num_classes=width, image_size=chosen, options={}, pretrained=False)[0]

    try:
        with torch.device("meta"):
            model = build()
    except Exception:
        # Some constructors compute with values. A mistake of the user's shows again here.
        with torch.random.fork_rng(devices=[]):
            model = build()
    return _measure_module(model, chosen, name)


def _measure_module(model: nn.Module, size: tuple[int, int], name: str) -> Cost:
    try:
        try:
            counts = _count(model, size, torch.device("meta"))
        except Exception:
            # Some models look at values on their way; those run for real.
            counts = _count(model, size, None)
    except Exception as error:
        raise ModelError(
            f"{name!r} can't take images of {size[0]}x{size[1]} pixels ({type(error).__name__}: {error})."
        ) from error
    macs, elementwise = counts
    return Cost(count_parameters(model), macs, elementwise, size)


def _count(model: nn.Module, size: tuple[int, int], device: torch.device | None) -> tuple[int, int]:
    """Return the multiply-adds and what norms and activations add.

    Args:
        model: stays as it is.
        size: height and width of the image.
        device: where its parameters are taken to be; None: where they are.
    """
    weight = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    image = torch.zeros(1, 3, *size, device=device or weight.device, dtype=weight.dtype)
    state: dict[str, Tensor] = {}
    if device is not None:
        tensors = (*model.named_parameters(), *model.named_buffers())
        state = {name: torch.empty_like(tensor, device=device) for name, tensor in tensors}
    counter = FlopCounterMode(display=False, custom_mapping=_elementwise_formulas())
    with _as_in_use(model), torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH), counter:
        functional_call(model, state, (image,))
    by_operator = counter.get_flop_counts().get("Global", {})
    elementwise = sum(by_operator.get(operator, 0) for operator in _elementwise_formulas())
    # torch counts two operations a multiply-add.
    return (sum(by_operator.values()) - elementwise) // 2, elementwise


@contextmanager
def _as_in_use(model: nn.Module) -> Iterator[None]:
    """Run a model in evaluation mode without gradients, attention spelt out, and put everything back."""
    modes = [(module, module.training) for module in model.modules()]
    # One fused operator for a whole transformer layer would hide what is in it.
    fused = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module, training in modes:
            module.training = training


def _elementwise_formulas() -> dict[Any, Callable[..., int]]:
    """Return what norms and activations cost, by torch's operator."""
    aten = torch.ops.aten
    formulas: dict[Any, Callable[..., int]] = {}
    for names, formula in ((_NORMS, _cost_of_norm), (_ACTIVATIONS, _cost_of_activation)):
        formulas.update({getattr(aten, name): formula for name in names if hasattr(aten, name)})
    return formulas


def _cost_of_norm(shape: Sequence[int], *args: Any, **kwargs: Any) -> int:
    return 2 * prod(shape)


def _cost_of_activation(shape: Sequence[int], *args: Any, **kwargs: Any) -> int:
    return prod(shape)
