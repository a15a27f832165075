"""What an exported file says of itself: how an image comes to it, and what its answers mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropkd.errors import ModelError

__all__ = ["Description"]

_Size = tuple[int, int]
_Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Description:
    """How an image comes to an exported student, and what its logits mean.

    Args:
        classes: names in the order of the logits; empty where the run knew none.
        multi_label: an image may have several labels, or none.
        frame: height and width that the largest centred part of an image is brought to.
        crop: height and width of the centre of the frame, which is what the network sees.
        takes_pixels: it is fed RGB bytes; else normalised numbers.
        mean: per channel, of RGB values in 0..1; subtracted.
        std: per channel; divided by.
    """

    classes: tuple[str, ...]
    multi_label: bool
    frame: _Size
    crop: _Size
    takes_pixels: bool
    mean: _Colour
    std: _Colour

    @classmethod
    def read(cls, path: Path, metadata: Mapping[str, str]) -> Description:
        """Return what the metadata in an exported file says, or else the JSON file beside it.

        Args:
            path: the exported file.
            metadata: texts by name; values that are no texts are JSON.

        Raises:
            ModelError: neither says it.
        """
        beside = path.with_name(path.name + ".json")
        try:
            if "input" in metadata:
                facts = {key: _parse(text) for key, text in metadata.items()}
                source = str(path)
            else:
                facts = json.loads(beside.read_text(encoding="utf-8"))
                source = str(beside)
        except FileNotFoundError as error:
            raise ModelError(
                f"{str(path)!r} does not say how an image comes to it: it has no metadata of dropkd, and no "
                f"{beside.name!r} lies beside it. Use a file that `dropkd export` wrote."
            ) from error
        except (OSError, ValueError) as error:
            raise ModelError(f"Can't read the description {str(beside)!r}: {error}.") from error
        try:
            return cls._of_facts(facts)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"The description of the model in {source!r} is not as `dropkd export` writes it "
                f"({type(error).__name__}: {error})."
            ) from error

    @classmethod
    def _of_facts(cls, facts: Mapping[str, Any]) -> Description:
        given = facts["input"]
        return cls(
            classes=tuple(map(str, facts["classes"])),
            multi_label=bool(facts["multi_label"]),
            frame=_to_size(given["frame"]),
            crop=_to_size(given["crop"]),
            takes_pixels=given["dtype"] == "uint8",
            mean=_to_colour(given["mean"]),
            std=_to_colour(given["std"]),
        )

    def name_classes(self, count: int) -> tuple[str, ...]:
        """Return a name for each of the logits: its number where the run knew none.

        Raises:
            ModelError: there are more or fewer logits than names.
        """
        if not self.classes:
            return tuple(map(str, range(count)))
        if len(self.classes) != count:
            raise ModelError(f"The file names {len(self.classes)} classes, but gives {count} logits.")
        return self.classes


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _to_size(values: Any) -> _Size:
    height, width = (int(value) for value in values)
    if min(height, width) < 1:
        raise ValueError(f"a size of {values!r}")
    return height, width


def _to_colour(values: Any) -> _Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
