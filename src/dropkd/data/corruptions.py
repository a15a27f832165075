"""Images spoilt as the world spoils them: the 15 usual kinds at 5 strengths, by the library ``imagecorruptions``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from dropkd.errors import ConfigError

__all__ = ["STRENGTHS", "corrupt", "corruption_kinds"]

STRENGTHS = (1, 2, 3, 4, 5)

_LEAST_PIXELS = 32


def corruption_kinds() -> tuple[str, ...]:
    """Return the names of the 15 kinds: noise, blur, weather and what cameras and files do.

    Raises:
        ConfigError: the library is not installed.

    References:
        Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
        ICLR 2019.
    """
    return tuple(_library().get_corruption_names())


def corrupt(kind: str, strength: int, image: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Return a spoilt image, a function of the arguments alone.

    Args:
        kind: one of :func:`corruption_kinds`.
        strength: 1 to 5, as they are defined for 224 pixels; on smaller images they are harsher. Below 32 pixels
            the border is repeated to there, and cut off again.
        image: (H, W, 3).
        number: of the image in its split, which picks its noise.

    Raises:
        ConfigError: the library is not installed.
    """
    # The library takes nothing smaller than 32 pixels.
    missing = [max(0, _LEAST_PIXELS - pixels) for pixels in image.shape[:2]]
    padding = [(gap // 2, gap - gap // 2) for gap in missing]
    height, width = image.shape[:2]
    padded = np.pad(image, [*padding, (0, 0)], mode="edge") if any(missing) else image
    with _seeded(crc32(f"{kind}/{strength}/{number}".encode())):
        spoilt = _library().corrupt(padded, severity=strength, corruption_name=kind)
    top, left = padding[0][0], padding[1][0]
    return np.ascontiguousarray(spoilt[top : top + height, left : left + width], np.uint8)


def _library() -> Any:
    try:
        return import_module("imagecorruptions")
    except ImportError as error:
        raise ConfigError(
            f'Spoilt images need a library that is not there ({error}): pip install "dropkd[corruptions]"'
        ) from error


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from a seed what the library draws from global generators: numpy's, and that of compiled functions."""
    state = np.random.get_state()
    np.random.seed(seed)
    _compiled_seed()(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


@cache
def _compiled_seed() -> Callable[[int], None]:
    """Return what seeds numba's generator, which is another one than numpy's."""

    def seed_compiled(seed: int) -> None:
        np.random.seed(seed)

    if find_spec("numba") is None:
        return seed_compiled
    numba = import_module("numba")
    compiled: Callable[[int], None] = numba.njit(seed_compiled)
    return compiled
