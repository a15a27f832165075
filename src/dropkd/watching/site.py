"""What a watched folder answers to which address: pages, what is new, and some files by their names; nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from dropkd.errors import RunError
from dropkd.report.rendering import find_policy
from dropkd.watching.group_page import draw_group_page
from dropkd.watching.group_watch import GroupView, GroupWatch
from dropkd.watching.page import SCRIPT, Page
from dropkd.watching.places import open_inside, read_inside
from dropkd.watching.run_page import draw_run_page
from dropkd.watching.run_watch import RunWatch
from dropkd.watching.view import RunView

__all__ = ["Answer", "Site"]

# Many pages that ask at once are told the same.
_FRESH_SECONDS = 0.5
_RUN_FILES = ("report.html", "cka.html", "config.yaml", "metrics.jsonl", "metrics.json", "environment.json")
_GROUP_FILES = ("comparison.html", "group.yaml")
_ADDRESS = re.compile(r"/(?:run/([0-9]{1,6})/)?(parts|files/([a-z.]{1,40}))?", re.ASCII)
# A page of the run's own may be opened, but in a place of its own: it can't ask for anything here.
_OWN_PAGE = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
)


@dataclass(frozen=True)
class Answer:
    """What is sent: a status, a kind of content and the content.

    Args:
        status: of HTTP.
        kind: the content's media type.
        content: the bytes.
        policy: the Content-Security-Policy.
        tag: changes with the content; empty where that is not asked for.
    """

    status: int
    kind: str
    content: bytes
    policy: str = "default-src 'none'"
    tag: str = field(default="")

    @classmethod
    def say(cls, status: int, words: str) -> Answer:
        """Return a plain sentence."""
        return cls(status, "text/plain; charset=utf-8", f"{words}\n".encode())


class Site:
    """Answers addresses of a run, or of the runs of a group; several threads may ask at once.

    Args:
        watched: what is followed.
    """

    def __init__(self, watched: RunWatch | GroupWatch) -> None:
        self.watched = watched
        self._lock = threading.Lock()
        self._view: RunView | GroupView | None = None
        self._looked = 0.0
        # A run keeps its number, whatever comes and goes beside it.
        self._numbers: dict[str, int] = {}

    def answer(self, address: str) -> Answer:
        """Return the answer to an address as it was sent; nothing in it is decoded, and no path is made from it."""
        found = _ADDRESS.fullmatch(address.partition("?")[0])
        if found is None:
            return _nothing_there()
        number, what, file = found.groups()
        with self._lock:
            view = self._look()
            name = None
            if number is not None:
                name = next((own for own, n in self._numbers.items() if n == int(number)), None)
                if name is None or not isinstance(view, GroupView):
                    return _nothing_there()
            if file is not None:
                return self._send_file(view, name, file)
            page = self._draw(view, name)
        if page is None:
            return _nothing_there()
        if what == "parts":
            content = json.dumps(page.tell()).encode()
            return Answer(200, "application/json", content, tag=f'"{hashlib.sha256(content).hexdigest()[:32]}"')
        policy = f"{find_policy(SCRIPT, asks=True)}; frame-ancestors 'none'"
        return Answer(200, "text/html; charset=utf-8", page.render().encode(), policy)

    def _look(self) -> RunView | GroupView:
        now = time.monotonic()
        if self._view is None or now - self._looked > _FRESH_SECONDS:
            self._view, self._looked = self.watched.look(), now
            if isinstance(self._view, GroupView):
                for member in self._view.members:
                    self._numbers.setdefault(member.name, len(self._numbers))
        return self._view

    def _draw(self, view: RunView | GroupView, name: str | None) -> Page | None:
        if isinstance(view, RunView):
            return draw_run_page(view, self._list_files((), _RUN_FILES))
        if name is None:
            return draw_group_page(view, self._numbers, self._list_files((), _GROUP_FILES))
        run = next((member.run for member in view.members if member.name == name), None)
        up = Path(view.folder).resolve().name
        return None if run is None else draw_run_page(run, self._list_files((name,), _RUN_FILES), up=up)

    def _list_files(self, place: tuple[str, ...], names: tuple[str, ...]) -> list[str]:
        return [name for name in names if self._is_there((*place, name))]

    def _is_there(self, names: tuple[str, ...]) -> bool:
        try:
            descriptor = open_inside(self.watched.root, *names)
        except (OSError, RunError):
            return False
        os.close(descriptor)
        return True

    def _send_file(self, view: RunView | GroupView, name: str | None, file: str) -> Answer:
        known = _GROUP_FILES if isinstance(view, GroupView) and name is None else _RUN_FILES
        if file not in known:
            return _nothing_there()
        try:
            content = read_inside(self.watched.root, *(() if name is None else (name,)), file)
        except (OSError, RunError):
            return _nothing_there()
        if file.endswith(".html"):
            return Answer(200, "text/html; charset=utf-8", content, _OWN_PAGE)
        return Answer(200, "text/plain; charset=utf-8", content)


def _nothing_there() -> Answer:
    return Answer.say(404, "There is nothing at this address.")
