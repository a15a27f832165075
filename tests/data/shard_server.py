"""A folder behind a URL, on a server that may be slow to come to itself."""

from __future__ import annotations

import contextlib
import http.server
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Server:
    """A folder behind a URL.

    Args:
        url: where it is.
        folder: what it serves.
        failures: how often each file is still refused, and how: by a status, or by a torn answer (0).
        asked: how often each file was asked for.
    """

    url: str
    folder: Path
    failures: dict[str, list[int]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serve a folder for as long as the context lasts."""
    here = Server("", folder)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = urllib.parse.unquote(self.path).lstrip("/")
            here.asked[name] += 1
            path = here.folder / name
            failure = here.failures[name].pop(0) if here.failures.get(name) else None
            if failure or not path.is_file():
                self.send_error(failure or 404)
                return
            content = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if failure == 0 else content)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        here.url = f"http://127.0.0.1:{listening.server_port}"
        yield here
        listening.shutdown()
        thread.join()
