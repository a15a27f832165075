"""A page that follows a run or a group: its parts, each a text that takes the place of the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dropkd.report.rendering import render_page, show_unprintable

__all__ = ["SCRIPT", "Page"]

SCRIPT = "watch.js"


@dataclass(frozen=True)
class Page:
    """A page at a moment.

    Args:
        title: of the window.
        heading: of the page.
        parts: the texts of its parts.
        sections: id and title of those that have a heading.
        news: what is told to those who listen to the page, when it is another than before.
        ended: whether nothing more is expected.
        up: name of the group that the run belongs to, empty without one.
    """

    title: str
    heading: str
    parts: Mapping[str, str]
    sections: tuple[tuple[str, str], ...]
    news: str
    ended: bool
    up: str = ""

    def render(self) -> str:
        """Return the whole page, which shows what its parts say now."""
        values = {
            "title": self.heading, "parts": {name: _Safe(part) for name, part in self.parts.items()},
            "sections": self.sections, "up": self.up,
        }  # fmt: skip
        return render_page("watch.html.j2", values, SCRIPT, asks=True)

    def tell(self) -> dict[str, Any]:
        """Return what the page's script asks for."""
        return {
            "title": show_unprintable(self.title), "parts": dict(self.parts), "news": show_unprintable(self.news),
            "ended": self.ended,
        }  # fmt: skip


class _Safe(str):
    """A part whose template has escaped what is in it."""

    def __html__(self) -> str:
        return str(self)
