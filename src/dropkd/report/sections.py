"""The sections of a run's page, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["SECTIONS", "Section", "choose_sections"]


@dataclass(frozen=True)
class Section:
    """A section of the page, and its line in the contents.

    Args:
        anchor: its id; ``run/ANCHOR.html.j2`` draws it.
        title: what the contents call it.
        needs: names of the page's values, one of which must be there; a section without any is always shown.
    """

    anchor: str
    title: str
    needs: tuple[str, ...] = ()

    @property
    def template(self) -> str:
        """Return the template that draws it."""
        return f"run/{self.anchor}.html.j2"


SECTIONS = (
    Section("figures", "Figures", ("figures", "facts")),
    Section("curves", "Learning curves"),
    Section("teacher", "Beside its teacher", ("beside",)),
    Section("relabels", "Changed labels", ("relabels",)),
    Section("confusion", "Mistakes", ("confusion",)),
    Section("classes", "Classes", ("classes",)),
    Section("labels", "Labels", ("labels",)),
    Section("calibration", "Calibration", ("calibration",)),
    Section("samples", "Images", ("groups",)),
    Section("looks", "Where they look", ("looks",)),
    Section("layers", "Layers", ("similarity",)),
    Section("cost", "Cost", ("cost",)),
    Section("configuration", "Configuration"),
    Section("repeat", "Repeat it"),
)


def choose_sections(values: Mapping[str, Any]) -> list[Section]:
    """Return the sections that the page has something for.

    Raises:
        KeyError: a section needs a value that the page does not know.
    """
    return [s for s in SECTIONS if not s.needs or any(values[name] for name in s.needs)]
