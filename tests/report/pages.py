"""Reads a page as a person does: its words, and what it would load."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """The words of a page, its tags, and whatever it would load."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.links: list[str] = []
        self.tags: set[str] = set()
        self._words: list[str] = []
        self._open = ""
        self.feed(self.source)

    @property
    def text(self) -> str:
        words = "".join(self._words).replace("\u00a0", " ").replace("\u2212", "-")
        return re.sub(r"\s+", " ", words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open not in ("style", "script"):
            self._words.append(data)
