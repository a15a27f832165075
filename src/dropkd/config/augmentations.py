"""The names of the augmentation recipes, and how else people write them. What they do: ``dropkd.data.recipe``."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["AUGMENTATIONS", "AugmentationName", "find_augmentation"]

AugmentationName = Literal[
    "auto", "none", "crop-flip", "resized-crop", "cifar", "imagenet", "faces-scn", "faces-eac", "trivial", "rand"
]
AUGMENTATIONS: tuple[AugmentationName, ...] = get_args(AugmentationName)

# Letters and digits alone, in lower case.
_OTHER_SPELLINGS: dict[str, AugmentationName] = {
    "off": "none",
    "facesasscn": "faces-scn",
    "scn": "faces-scn",
    "facesaseac": "faces-eac",
    "eac": "faces-eac",
    "trivialaugment": "trivial",
    "trivialaugmentwide": "trivial",
    "tawide": "trivial",
    "randaugment": "rand",
    "randomresizedcrop": "resized-crop",
}


def find_augmentation(name: str) -> AugmentationName | None:
    """Return the recipe that a name means, or None.

    Example:
        >>> find_augmentation("faces-as-SCN")
        'faces-scn'
        >>> find_augmentation("TrivialAugment Wide")
        'trivial'
    """
    key = _letters(name)
    return next((known for known in AUGMENTATIONS if _letters(known) == key), _OTHER_SPELLINGS.get(key))


def _letters(name: str) -> str:
    return "".join(sign for sign in name.lower() if sign.isalnum())
