"""Models built without the random values that a file of weights replaces at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["WithoutDraws"]

# What initialisers do to a parameter: draw, bring the draws into form, and bound them.
_STEPS = (Tensor.normal_, Tensor.uniform_, Tensor.erfinv_, Tensor.mul_, Tensor.add_, Tensor.clamp_)


class WithoutDraws(TorchFunctionMode):
    """While it is entered, parameters get no random values: they hold whatever was in memory.

    For models all of whose parameters are loaded right after: to draw the 300 million of a large transformer takes
    longer than to read them. Buffers and all other tensors are as ever.

    Example:
        >>> with WithoutDraws():
        ...     layer = nn.Linear(4, 2)
        >>> layer.weight.shape
        torch.Size([2, 4])
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Leave a parameter as it is where it would be drawn, and do everything else."""
        given = kwargs or {}
        # torch's initialisers are seen as a whole, others by their steps.
        if func in _STEPS or getattr(func, "__module__", None) == nn.init.__name__:
            target = args[0] if args else given.get("tensor")
            if isinstance(target, nn.Parameter):
                return target
        return func(*args, **given)
