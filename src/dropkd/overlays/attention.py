"""Maps from a transformer's attention: how much of each position's token ends up in what the classifier reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from dropkd.errors import ModelError
from dropkd.models import Network
from dropkd.models.tokens import find_grid

__all__ = ["attention_maps", "has_attention"]


@torch.no_grad()
def attention_maps(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much of each position reaches what the classifier reads, and the logits.

    The weights of each layer's attention, averaged over its heads, are mixed with the identity by halves for the
    residual path and multiplied through the layers. It says nothing of any class. What the classifier reads is the
    first token where there is one before the positions, and the mean over the positions where there is none.

    Args:
        network: in evaluation mode.
        images: (B, 3, h, w), as the network takes them.

    Returns:
        (B, H, W), 0 or more, and the logits, (B, K).

    Raises:
        ModelError: the network has no attention over all positions whose weights could be seen.

    References:
        Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, section 3.
    """
    with _unfused(network.model), _AttentionReader() as reader:
        answer = network(images)
    weights = _over_all_positions(reader.weights, len(images))
    if not weights:
        raise ModelError(
            f"{network.spec.name!r} has no attention over all positions whose weights could be seen. Ask by gradients "
            "or by occlusion."
        )
    size = weights[0].shape[-1]
    flow = torch.eye(size, device=weights[0].device).expand(len(images), size, size)
    for layer in weights:
        flow = (0.5 * layer + 0.5 * torch.eye(size, device=layer.device)) @ flow
    height, width = find_grid(size, network.spec.image_size)
    prefix = size - height * width
    # timm's transformers say it where they have a class token and yet read the mean.
    reads_mean = not prefix or getattr(network.model, "global_pool", None) == "avg"
    row = flow[:, prefix:].mean(1) if reads_mean else flow[:, 0]
    return row[:, prefix:].reshape(len(images), height, width), answer.logits


@torch.no_grad()
def has_attention(network: Network, images: Tensor) -> bool:
    """Return whether a network weighs positions by a softmax inside, as attention of any kind does.

    Args:
        network: in evaluation mode.
        images: (B, 3, h, w), as the network takes them.
    """
    with _SoftmaxWatcher() as watcher:
        network(images, maps=False)
    return bool(watcher.has_seen)


class _SoftmaxWatcher(TorchFunctionMode):
    """Notes whether there is a softmax over more than a row of logits, by itself or within an attention."""

    def __init__(self) -> None:
        super().__init__()
        self.has_seen: bool = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        is_attention = func in (F.scaled_dot_product_attention, F.multi_head_attention_forward)
        is_softmax = func in (F.softmax, torch.softmax, Tensor.softmax) and args and args[0].ndim > 2
        self.has_seen = self.has_seen or is_attention or bool(is_softmax)
        return func(*args, **(kwargs or {}))


class _AttentionReader(TorchFunctionMode):
    """Keeps the weights of each attention, averaged over the heads, whoever computes it."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func is F.multi_head_attention_forward:
            # Which calls the other function where nobody sees it; it gives the weights itself if asked.
            mixed, weights = func(*args, **named | {"need_weights": True})
            self.weights.append(weights.float().mean(1) if weights.ndim == 4 else weights.float())
            return mixed, weights if named.get("need_weights", True) else None
        if func is F.scaled_dot_product_attention:
            self.weights.append(_weigh(*args, **named))
        return func(*args, **named)


def _weigh(
    query: Tensor,
    key: Tensor,
    _value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **_others: Any,
) -> Tensor:
    """Return the weights that an attention gives, (B, N, M), as PyTorch defines them."""
    del dropout_p, is_causal
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    if key.shape[-3] != query.shape[-3]:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query.float() @ key.float().transpose(-2, -1) * factor
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    weights = scores.softmax(-1)
    return weights.mean(-3) if weights.ndim == 4 else weights


def _over_all_positions(weights: list[Tensor], images: int) -> list[Tensor]:
    """Return those of the attentions of all tokens to all, the same number in each layer; none where that changes."""
    square = [w for w in weights if w.ndim == 3 and w.shape[-1] == w.shape[-2]]
    if not square or any(len(w) != images for w in square) or len({w.shape[-1] for w in square}) > 1:
        return []
    return square


@contextmanager
def _unfused(model: nn.Module) -> Iterator[None]:
    """Send every attention through the one function that can be watched."""
    fused = [module for module in model.modules() if hasattr(module, "fused_attn")]
    before = [module.fused_attn for module in fused]
    mha: Any = torch.backends.mha
    had_fast_path = mha.get_fastpath_enabled()
    for module in fused:
        module.fused_attn = True  # type: ignore[assignment]
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(had_fast_path)
        for module, value in zip(fused, before, strict=True):
            module.fused_attn = value
