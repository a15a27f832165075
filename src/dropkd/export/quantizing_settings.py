"""What a user may ask of an int8 file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dropkd.errors import ConfigError, did_you_mean
from dropkd.export.quantizing import METHODS

__all__ = ["Int8"]


@dataclass(frozen=True)
class Int8:
    """How an int8 file is made, and how good it has to be.

    Args:
        images: that ranges are found by, at most.
        folder: images of the user's own in place of training images.
        method: how the ends of a range are found: ``minmax``, ``percentile`` (99.99) or ``entropy``.
        max_drop: percentage points of accuracy that may be lost; None: any.
        weight_bits: bits of a weight, 4 to 8, stored in 8 each; None: 8, or what the student has learned to bear. 7 for
            x86 processors without VNNI instructions, whose sums of 8-bit products may overflow.
        keep_float: names of layers, or of modules around them, that stay as they are; * stands for any letters.
        threads: that latencies are measured with; None: as many as torch uses.

    Raises:
        ConfigError: a value out of its range.
    """

    images: int = 512
    folder: Path | None = None
    method: str = "minmax"
    max_drop: float | None = None
    weight_bits: int | None = None
    keep_float: tuple[str, ...] = ()
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ConfigError(f"--calibration-images must be 1 or more, got {self.images}.")
        if self.method not in METHODS:
            raise ConfigError(
                f"--calibration-method must be one of {', '.join(METHODS)}, got {self.method!r}."
                f"{did_you_mean(self.method, METHODS)}"
            )
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise ConfigError(f"--max-drop is in percentage points, 0 to 100, got {self.max_drop:g}.")
        if self.weight_bits is not None and not 4 <= self.weight_bits <= 8:
            raise ConfigError(f"--weight-bits must be 4 to 8, got {self.weight_bits}.")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"--threads must be 1 or more, got {self.threads}.")
