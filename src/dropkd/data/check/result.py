"""What a check of a data set gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dropkd.data.check.findings import LEVELS, Finding
from dropkd.data.check.subject import ImageRef

__all__ = ["DataCheck", "SizeRange"]


@dataclass(frozen=True)
class SizeRange:
    """The (height, width) of the smallest, the middle and the largest image, by area."""

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]


@dataclass(frozen=True)
class DataCheck:
    """A checked data set.

    Args:
        data: the data set as it was named.
        root: the folder that all paths start from.
        classes: the names of the classes.
        counts: the images of each class, in the order of ``classes``, by split; unreadable ones are among them.
        images: how many images there are.
        readable: how many of them can be read.
        sizes: of the readable ones; None where there are none.
        formats: how many images are of each format.
        modes: how many store their colours in each way, as Pillow calls them.
        findings: what was found, the worst first.
        notes: what opening the data said.
        near: the most bits of 256 in which two hashes of near duplicates differ; None where they were not looked for.
        seconds: how long the check took.
        samples: some images of each class.
        pictures: small copies of samples and of images that were found, PNG or JPEG, by path.
    """

    data: str
    root: str
    classes: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    images: int
    readable: int
    sizes: SizeRange | None
    formats: Mapping[str, int]
    modes: Mapping[str, int]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    near: int | None
    seconds: float
    samples: tuple[tuple[ImageRef, ...], ...] = field(default=(), repr=False)
    pictures: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def total_name(self) -> str:
        """What the sum of the counts is called: where images have several labels it is no number of images."""
        return "all" if sum(map(sum, self.counts.values())) == self.images else "labels"

    def of_level(self, level: str) -> tuple[Finding, ...]:
        """Return the findings of a level, ``error``, ``warning`` or ``note``."""
        return tuple(finding for finding in self.findings if finding.level == level)

    def find(self, kind: str) -> Finding | None:
        """Return the finding of a kind, such as ``unreadable``, or None where there is none."""
        return next((finding for finding in self.findings if finding.kind == kind), None)

    def exit_code(self, *, strict: bool = False) -> int:
        """Return 2 where there are errors (if strict: or warnings), else 0."""
        return 2 if self.of_level("error") or (strict and self.of_level("warning")) else 0

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as what JSON can hold."""
        whole = {name: value for name, value in vars(self).items() if name not in ("pictures", "samples", "findings")}
        whole["counts"] = {split: dict(zip(self.classes, counts, strict=True)) for split, counts in self.counts.items()}
        whole["sizes"] = None if self.sizes is None else asdict(self.sizes)
        whole |= {f"{level}s": len(self.of_level(level)) for level in LEVELS}
        whole["findings"] = [
            {
                "kind": finding.kind,
                "level": finding.level,
                "title": finding.title,
                "advice": finding.advice,
                "count": len(finding.items),
                "items": [_describe_item(asdict(item)) for item in finding.items],
            }
            for finding in self.findings
        ]
        return whole


def _describe_item(item: dict[str, Any]) -> dict[str, Any]:
    images = [{"path": i["path"], "split": i["split"], "class": i["label"]} for i in item["images"]]
    return {"text": item["text"], "distance": item["distance"], "images": images}
