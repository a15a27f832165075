"""Does the exported file answer as the network does?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dropkd.errors import ModelError

__all__ = ["Parity", "check_parity"]

# Of logits, for numbers of single precision: what another order of summing may change.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Parity:
    """How near the file's answers are to the network's.

    Args:
        images: how many were compared.
        max_difference: largest difference of a logit.
        agreement: share of the images with the same class.
    """

    images: int
    max_difference: float
    agreement: float


def check_parity(
    expected: Tensor, exported: Callable[[Tensor], Tensor], inputs: Tensor, name: str = "exported"
) -> Parity:
    """Compare the file's answers with the network's, in batches of several sizes.

    Args:
        expected: (N, K), the network's logits.
        exported: gives the file's logits.
        inputs: (N, ...), what the file is fed.
        name: of the format, for the message.

    Raises:
        ModelError: a class differs, a logit is further off than rounding explains, or one is not finite.
    """
    answers = []
    start, size = 0, 1
    while start < len(inputs):
        # 1, 2, 3, ... at a time: a batch size that was frozen in is found.
        answers.append(exported(inputs[start : start + size]))
        start, size = start + size, size + 1
    found = torch.cat(answers)
    if found.shape != expected.shape:
        raise ModelError(f"The {name} file gives logits of shape {tuple(found.shape)}, not {tuple(expected.shape)}.")
    difference = float((found - expected).abs().max())
    agreement = float((found.argmax(1) == expected.argmax(1)).double().mean())
    limit = _TOLERANCE * max(1.0, float(expected.abs().max()))
    # Written so that a NaN fails.
    if not (difference <= limit and agreement == 1.0):
        raise ModelError(
            f"The {name} file does not answer as the network does: over {len(expected)} images its logits differ by "
            f"up to {difference:.3g} (at most {limit:.3g} is rounding) and {agreement:.1%} of the classes agree. "
            "Nothing was written."
        )
    return Parity(len(expected), difference, agreement)
